/**
 * Prompts and demonstrations from any source that rows.ts reads. A row is recognised by its
 * columns:
 *
 *   prompt (text or messages) [+ answer, choices]       TRL's columns; a text is one user message
 *   messages | conversations                            prompts: without the last answer;
 *                                                       demonstrations: the last assistant turn
 *   question + choices [+ context, answer | answerKey]  multiple choice (ARC, OpenBookQA, MMLU)
 *   question + context + answerA, answerB, answerC [+ label]  SIQA as published
 *   question [+ context, final | answer]                GSM8K and other questions; a short answer
 *                                                       is asked for behind `Answer:`
 *   instruction [+ input, context]                      Alpaca, Dolly
 *   query, or input alone                               a user message
 *   any of these + completion | output | response       demonstrations
 *
 * `system` and `history` beside them become messages (prompt-columns.ts). Without an `id`, a row
 * gets the hash of its content (contentId), so that shuffling a file changes no id. Duplicates are
 * dropped and counted, whatever their ids. In one source an id must name one prompt; across several
 * sources a repeated id gets the beginning of its content's hash added. Several demonstrations may
 * share a `prompt_id`.
 */
import { BadRows, type LeftOut, type OnBadRow } from './bad-rows.js';
import { answerOf, choicePrompt, choicesOf } from './choices.js';
import { columnList, DataError, describe, isObject } from './jsonl.js';
import { likelyMapping } from './likely-column.js';
import { checkTexts, conversation, CONVERSATIONS, isBlank, isEmpty } from './messages.js';
import {
  ANSWERS,
  completePrompt,
  findPrompt,
  inContext,
  instruction,
  knownAnswerOf,
  optionalText,
  pick,
  presentRow,
  PROMPT_CANDIDATES,
  rename,
  spoken,
  text,
  textsWithoutPrompt,
  withoutPrompt,
} from './prompt-columns.js';
import type { DemonstrationRecord, Message, PromptRecord } from './records.js';
import { askQuestion, contentId, kindOf } from './question.js';
import { checkReading, readObjects, type Row, type SourceOptions } from './rows.js';
import { inSlices } from './row-slices.js';
import { UnreadColumns } from './unread-columns.js';

/** The records of one or more sources, and the rows that were left out. */
export interface Loaded<T> extends LeftOut {
  /** In the order of the sources. */
  records: T[];
  /** The file and line of each record, by its id; absent for built-in data. */
  places?: ReadonlyMap<string, string>;
}

/** How rows become prompts, demonstrations or pairs. */
export interface LoadOptions extends Omit<SourceOptions, 'columns' | 'onBadRow'> {
  /**
   * `error`, the default: a row that cannot be used is an error that names the first one and counts
   * the others. `skip`: such rows are left out and listed in `skipped`.
   */
  onBadRow?: OnBadRow | undefined;
  /**
   * Other sets' column names for ours, such as `prompt=query`: the row's `query` is read as its
   * `prompt`, and no other column that could be the prompt is looked at. `ignore=context` leaves a
   * column out.
   */
  columns?: readonly string[] | undefined;
  /**
   * Accept texts that hold a chat template's control tokens (`<|im_start|>`, `[INST]`, …), for data
   * about such templates. By default they are refused: the template would be applied twice.
   */
  controlTokens?: boolean | undefined;
}

/** The options that LoadOptions has besides those of SourceOptions. */
export const LOAD_OPTIONS: readonly (keyof LoadOptions)[] = ['controlTokens'];

/** The LoadOptions that concern a single row. */
export type RowOptions = Pick<LoadOptions, 'controlTokens'>;

/**
 * Reads prompts, of several sources one after the other. Repeated prompts are left out and counted.
 * @throws DataError for a bad row (unless `onBadRow` is `skip`), and where no row is left.
 */
export async function loadPrompts(
  source: string | readonly string[],
  options: LoadOptions = {},
): Promise<Loaded<PromptRecord>> {
  return distinct(
    source,
    options,
    (row) => promptOf(row, options),
    ({ prompt }) => contentId(prompt),
  );
}

/** Reads demonstrations. Repeated ones are left out and counted. @throws as `loadPrompts`. */
export async function loadDemonstrations(
  source: string | readonly string[],
  options: LoadOptions = {},
): Promise<Loaded<DemonstrationRecord>> {
  return distinct(
    source,
    options,
    (row) => demonstrationOf(row, options),
    ({ prompt, completion }) => contentId([...prompt, ...completion]),
    { sharedPromptIds: true },
  );
}

type SourcedRow = Row & { source: number };

async function readSources(
  sources: string | readonly string[],
  loading: LoadOptions,
  bad: BadRows,
): Promise<SourcedRow[]> {
  const { columns = [], onBadRow: _, controlTokens: __, ...options } = loading;
  const names = typeof sources === 'string' ? [sources] : sources;
  const rows: SourcedRow[] = [];
  if (names.length > 1 && names.includes('builtin'))
    throw new DataError(
      'the built-in prompts cannot be mixed with other sources; take them alone, or leave ' +
        '`builtin` out of the list',
    );
  for (const [source, name] of names.entries()) {
    for (const row of await readObjects(name, { ...options, onBadRow: bad.add })) {
      const renamed = bad.try(() => rename(row, columns));
      if (renamed !== undefined) rows.push({ ...renamed, source });
    }
  }
  return rows;
}

/** The prompt of one row. @throws DataError */
export function promptOf(row: Row, options: RowOptions = {}): PromptRecord {
  const line = presentRow(row);
  const { value, where } = line;
  const make = (
    messages: Message[],
    used: readonly string[],
    given: Pick<PromptRecord, 'answer' | 'choices'> = {},
  ): PromptRecord => {
    const prompt = completePrompt(line, { messages, used });
    refuseEmptyPrompt(prompt, where);
    checkTexts(prompt, where, options);
    return withOptional(line, { id: idOf(line) ?? contentId(prompt), prompt }, given);
  };
  if (isEmpty(value.prompt) && (value.choices !== undefined || value.answerA !== undefined))
    return choicePrompt(line, (prompt, given) => make(prompt, ['question', 'context'], given));
  const column = pick(line, PROMPT_CANDIDATES);
  switch (column) {
    case undefined:
      throw new DataError(
        `${where}: no prompt found; give "prompt" (text or messages), "messages", "question" ` +
          `or "instruction"; the row has ${columnList(value)}; columns give it another name, ` +
          `such as ${likelyMapping(PROMPT_CANDIDATES, value)}`,
      );
    case 'question': {
      // GSM8K as published has the whole solution in `answer`, its last line being `#### N`.
      const answer =
        optionalText(line, 'final') ?? knownAnswerOf(line)?.split('####').at(-1)!.trim();
      const question = askQuestion(inContext(line, text(line, 'question')), kindOf(answer));
      return make(question, ['question', 'context'], { answer });
    }
    case 'instruction':
      return make(instruction(line), ['instruction', 'input', 'context'], {
        answer: knownAnswerOf(line),
      });
    case 'prompt':
    case 'query':
    case 'input': {
      const prompt = spoken(line, column);
      if (prompt.at(-1)!.role === 'assistant')
        throw new DataError(
          `${where}: "${column}" ends with an assistant turn; it must end where the model is to ` +
            'speak',
        );
      const choices = value.choices === undefined ? undefined : choicesOf(line);
      const answer = choices === undefined ? knownAnswerOf(line) : answerOf(line, choices);
      return make(prompt, [column], { answer, choices });
    }
    default: {
      const messages = conversation(line, column);
      if (!messages.some(({ role }) => role === 'user'))
        throw new DataError(`${where}: "${column}" has no user turn to answer`);
      const last = messages.findLastIndex(({ role }) => role !== 'assistant');
      return make(messages.slice(0, last + 1), [column], { answer: knownAnswerOf(line) });
    }
  }
}

/** @throws DataError for a prompt that asks nothing */
function refuseEmptyPrompt(prompt: readonly Message[], where: string): void {
  if (isBlank(prompt.at(-1)!.content))
    throw new DataError(`${where}: the prompt's last turn is empty; remove the row`);
}

/** The demonstration of one row. @throws DataError */
export function demonstrationOf(row: Row, options: RowOptions = {}): DemonstrationRecord {
  const line = presentRow(row);
  const { where } = line;
  const { found, completion } = demonstrationParts(line);
  const [turn, ...more] = completion;
  if (turn?.role !== 'assistant' || isBlank(turn.content) || more.length > 0)
    throw new DataError(
      `${where}: a demonstration's completion must be one assistant turn that is not empty`,
    );
  const prompt = completePrompt(line, found, completion);
  refuseEmptyPrompt(prompt, where);
  if (prompt.at(-1)!.role === 'assistant')
    throw new DataError(
      `${where}: two assistant turns stand one after the other; a demonstration's answer follows ` +
        'a user turn',
    );
  checkTexts([...prompt, ...completion], where, options);
  return { id: idOf(line) ?? contentId([...prompt, ...completion]), prompt, completion };
}

function demonstrationParts(line: Row): {
  found: { messages: Message[]; used: readonly string[] };
  completion: Message[];
} {
  const { value, where } = line;
  const whole = CONVERSATIONS.find((column) => !isEmpty(value[column]));
  const answer = pick(line, ANSWERS);
  if (whole !== undefined) {
    const messages = conversation(line, whole);
    refuseUntrained(value[whole], `${where}: ${JSON.stringify(whole)}`);
    if (messages.length > 1 && messages.at(-1)!.role === 'assistant') {
      const other = ANSWERS.find(
        (name) => !isEmpty(value[name]) && !endsWith(messages, line, name),
      );
      if (other !== undefined)
        throw new DataError(
          `${where}: "${whole}" ends with an answer and "${other}" is another; say with columns ` +
            `that the first counts (${whole}=${whole}), or remove one of them`,
        );
      refuseUndesirable(line, whole);
      return {
        found: { messages: messages.slice(0, -1), used: [whole] },
        completion: messages.slice(-1),
      };
    }
    if (answer === undefined)
      throw new DataError(
        `${where}: "${whole}" must end with an assistant turn after at least one other`,
      );
  }
  const found = findPrompt(line);
  if (found === undefined || answer === undefined)
    throw new DataError(
      `${where}: no demonstration found; give "messages", "prompt" + "completion" or ` +
        `"instruction" + "output"; the row has ${columnList(value)}; columns give them other ` +
        `names, such as ${likelyMapping([...ANSWERS, ...PROMPT_CANDIDATES], value)}`,
    );
  const others = ANSWERS.filter((column) => column !== answer && !isEmpty(value[column]));
  const other = others.find((column) => value[column] !== value[answer]);
  if (other !== undefined)
    throw new DataError(
      `${where}: "${answer}" and "${other}" could both be the completion, and they differ; ` +
        `name the right one with columns, such as ${answer}=${other}, or remove the other`,
    );
  refuseUndesirable(line, answer);
  const given =
    answer === 'completion'
      ? conversation(line, answer, 'assistant')
      : [{ role: 'assistant' as const, content: text(line, answer) }];
  const [only] = given;
  const completion: Message[] =
    given.length === 1 && only!.role === 'assistant'
      ? [{ ...only!, content: textsWithoutPrompt([only!.content], found.messages)[0]! }]
      : withoutPrompt(given, found.messages);
  return { found, completion };
}

/** Whether a column holds the last turn of `messages`, or is no text that could be an answer. */
function endsWith(messages: readonly Message[], { value, where }: Row, column: string): boolean {
  const raw = value[column];
  if (typeof raw !== 'string' && !Array.isArray(raw)) return true;
  const said = conversation({ value: { [column]: raw }, where }, column, 'assistant').at(-1)!;
  return said.content.trim() === messages.at(-1)!.content.trim();
}

/** Marks of a turn that is not to be learnt, where they are 0 or false; and where 1 or true. */
const LEARNT = ['weight', 'train', 'trainable', 'training', 'loss', 'loss_weight', 'loss_scale'];
const NOT_LEARNT = ['mask', 'masked', 'ignore'];

/** @throws DataError where the last turn is marked as one that is not to be learnt */
function refuseUntrained(turns: unknown, place: string): void {
  const last: unknown = Array.isArray(turns) ? turns.at(-1) : undefined;
  if (!isObject(last)) return;
  const mark =
    LEARNT.find((key) => last[key] === 0 || last[key] === false) ??
    NOT_LEARNT.find((key) => last[key] === 1 || last[key] === true);
  if (mark !== undefined)
    throw new DataError(
      `${place} ends with a turn that is not to be learnt (${JSON.stringify(mark)} is ` +
        `${describe(last[mark])}); leave the row out, or end it with the turn before`,
    );
}

/** Columns that mark unpaired preferences as good or bad: TRL's, and LLaMA-Factory's. */
const MARKS = ['label', 'kto_tag'];

/** @throws DataError for a row of unpaired preferences whose completion is a bad one */
function refuseUndesirable({ value, where }: Row, answer: string): void {
  const mark = MARKS.find(
    (name) =>
      /^(?:false|bad|rejected|undesirable)$/i.test(String(value[name])) ||
      (String(value[name]) === '0' && answer === 'completion'),
  );
  if (mark !== undefined)
    throw new DataError(
      `${where}: "${mark}" is ${describe(value[mark])}, so "${answer}" is an example of a bad ` +
        'completion and not a demonstration; leave the row out, as on_bad_row: skip does',
    );
}

/** Empty ids name nothing. */
const idOf = (row: Row): string | undefined =>
  optionalText(row, 'id') ||
  optionalText(row, 'prompt_id') ||
  optionalText(row, 'uuid') ||
  undefined;

/** Whether a row is named by its prompt alone. */
const hasPromptIdOnly = (row: Row): boolean =>
  !optionalText(row, 'id') && Boolean(optionalText(row, 'prompt_id'));

/** Absent columns stay absent rather than undefined: artefacts are compared byte by byte. */
function withOptional(
  line: Row,
  record: PromptRecord,
  { answer, choices }: Pick<PromptRecord, 'answer' | 'choices'>,
): PromptRecord {
  const task = optionalText(line, 'task');
  return {
    ...record,
    ...(answer !== undefined && { answer }),
    ...(task !== undefined && { task }),
    ...(choices && { choices }),
  };
}

async function distinct<T extends { id: string; prompt: Message[]; completion?: Message[] }>(
  source: string | readonly string[],
  options: LoadOptions,
  read: (row: Row) => T,
  content: (record: T) => string,
  { sharedPromptIds = false } = {},
): Promise<Loaded<T>> {
  checkReading(source, options, LOAD_OPTIONS);
  const bad = new BadRows(options.onBadRow);
  const seen = new Map<string, string>();
  const ids = new Map<string, SourcedRow>();
  const records: T[] = [];
  const unread = new UnreadColumns();
  let duplicates = 0;
  let duplicate: string | undefined;
  for await (const line of inSlices(await readSources(source, options, bad))) {
    const record = bad.try(() => read(line));
    if (record === undefined) continue;
    const said = content(record);
    const earlier = seen.get(said);
    if (earlier !== undefined) {
      duplicates++;
      duplicate ??= `${line.where} repeats ${earlier}`;
      continue;
    }
    const other = ids.get(record.id);
    const shared = sharedPromptIds && hasPromptIdOnly(line);
    if (other?.source === line.source && !shared) {
      bad.add(
        new DataError(
          `${line.where}: the id ${describe(record.id)} is also that of ${other.where}; ` +
            'records are joined by id, so it must name one row',
        ),
      );
      continue;
    }
    const named = other === undefined ? record : { ...record, id: `${record.id}-${said}` };
    seen.set(said, line.where);
    unread.add(line.value, [...record.prompt, ...(record.completion ?? [])]);
    ids.set(named.id, line);
    records.push(named);
  }
  bad.check([source].flat().join(', '), records.length);
  return {
    records,
    duplicates,
    duplicate,
    skipped: bad.skipped,
    unread: unread.names,
    places: new Map([...ids].map(([id, { where }]) => [id, where])),
  };
}
