/**
 * Prompts and demonstrations from any source that rows.ts reads. A row is recognised by its
 * columns:
 *
 *   prompt (string | messages) [+ answer, choices] TRL's columns; messages as they are, a string as
 *   one user message
 *   messages | conversations prompts: up to the last user turn; demonstrations: the last assistant
 *   turn
 *   question + choices [+ context, answer | answerKey] multiple choice (ARC, OpenBookQA, MMLU)
 *   question + context + answerA, answerB, answerC [+ label]  SIQA as published
 *   question [+ final | answer] GSM8K and other questions with a number for an answer
 *   instruction [+ input, output]                             Alpaca, Dolly
 *   prompt + completion                                       demonstrations, TRL's columns
 *
 * Without an `id`, a row gets the hash of what it says (contentId), so that shuffling a file
 * changes no id. Of rows that say the same the first stays, whatever their ids; the others are
 * counted. In one source an id must name one prompt; across several sources a repeated id gets the
 * beginning of its content's hash added.
 */
import { choicePrompt, choicesOf, type MakePrompt } from './choices.js';
import { columnList, DataError, describe, isMessages, isObject } from './jsonl.js';
import type { DemonstrationRecord, Message, PromptRecord } from './records.js';
import { askQuestion, contentId } from './question.js';
import { present, readObjects, type Row, type SourceOptions } from './rows.js';

export interface Loaded<T> {
  records: T[];
  /** Rows left out because an earlier row says the same. */
  duplicates: number;
}

export interface LoadOptions extends Omit<SourceOptions, 'columns'> {
  /**
   * Other sets' column names for ours, such as `prompt=query`: the row's `query` is read as its
   * `prompt`.
   */
  columns?: readonly string[] | undefined;
}

/**
 * Reads prompts, of several sources one after the other. Repeated prompts are left out and counted.
 * @throws DataError for a bad row, an id used for two prompts, no rows.
 */
export async function loadPrompts(
  source: string | readonly string[],
  options: LoadOptions = {},
): Promise<Loaded<PromptRecord>> {
  return distinct(await readSources(source, options), promptOf, ({ prompt }) => contentId(prompt));
}

/** Reads demonstrations. Repeated ones are left out and counted. @throws as `loadPrompts`. */
export async function loadDemonstrations(
  source: string | readonly string[],
  options: LoadOptions = {},
): Promise<Loaded<DemonstrationRecord>> {
  return distinct(await readSources(source, options), demonstrationOf, ({ prompt, completion }) =>
    contentId([...prompt, ...completion]),
  );
}

type SourcedRow = Row & { source: number };

async function readSources(
  sources: string | readonly string[],
  { columns = [], ...options }: LoadOptions,
): Promise<SourcedRow[]> {
  const names = typeof sources === 'string' ? [sources] : sources;
  const rows: SourcedRow[] = [];
  if (names.length > 1 && names.includes('builtin'))
    throw new DataError(
      'the built-in prompts cannot be mixed with other sources; take them alone, or leave ' +
        '`builtin` out of the list',
    );
  for (const [source, name] of names.entries()) {
    for (const row of await readObjects(name, options))
      rows.push({ ...rename(row, columns), source });
  }
  return rows;
}

function rename(row: Row, columns: readonly string[]): Row {
  if (columns.length === 0) return row;
  const value = { ...row.value };
  for (const pair of columns) {
    const [ours, theirs] = pair.split(/=(.*)/s, 2) as [string, string | undefined];
    if (!ours || !theirs)
      throw new DataError(
        `the column mapping ${JSON.stringify(pair)} is not of the form ours=theirs, such ` +
          'as prompt=query',
      );
    if (row.value[theirs] === undefined)
      throw new DataError(
        `${row.where}: there is no column ${JSON.stringify(theirs)} to read as ` +
          `${JSON.stringify(ours)}; the row has ${columnList(row.value)}`,
      );
    value[ours] = row.value[theirs];
  }
  return { value, where: row.where };
}

/** The prompt of one row. */
export function promptOf(row: Row): PromptRecord {
  const line = unfolded(row);
  const { value, where } = line;
  const base: MakePrompt = (prompt, given = {}) =>
    withOptional(line, { id: idOf(line) ?? contentId(prompt), prompt }, given);
  if (value.prompt === undefined && (value.choices !== undefined || value.answerA !== undefined))
    return choicePrompt(line, base);
  if (value.prompt !== undefined) {
    const prompt = conversation(line, 'prompt');
    if (prompt.at(-1)!.role === 'assistant')
      throw new DataError(
        `${where}: "prompt" ends with an assistant turn; it must end where the model is to speak`,
      );
    const choices = value.choices === undefined ? undefined : choicesOf(line);
    return base(prompt, { answer: optionalText(line, 'answer'), choices });
  }
  if (value.messages !== undefined) {
    const messages = conversation(line, 'messages');
    const last = messages.findLastIndex(({ role }) => role === 'user');
    if (last === -1) throw new DataError(`${where}: "messages" has no user turn to answer`);
    return base(messages.slice(0, last + 1));
  }
  if (value.question !== undefined) {
    // GSM8K as published has the whole solution in `answer`, its last line being `#### N`.
    const answer =
      optionalText(line, 'final') ?? optionalText(line, 'answer')?.split('####').at(-1)!.trim();
    return base(askQuestion(text(line, 'question'), 'number'), { answer });
  }
  if (value.instruction !== undefined) return base(instruction(line));
  throw new DataError(
    `${where}: no prompt found; give "prompt" (text or messages), "messages", "question" ` +
      `or "instruction"; the row has ${columnList(value)}`,
  );
}

/** The demonstration of one row. */
export function demonstrationOf(row: Row): DemonstrationRecord {
  const line = unfolded(row);
  const { value, where } = line;
  let prompt: Message[];
  let completion: Message[];
  if (value.messages !== undefined) {
    const messages = conversation(line, 'messages');
    if (messages.length < 2 || messages.at(-1)!.role !== 'assistant')
      throw new DataError(
        `${where}: "messages" must end with an assistant turn after at least one other`,
      );
    [prompt, completion] = [messages.slice(0, -1), messages.slice(-1)];
  } else if (value.prompt !== undefined && value.completion !== undefined) {
    [prompt, completion] = [
      conversation(line, 'prompt'),
      conversation(line, 'completion', 'assistant'),
    ];
  } else if (value.instruction !== undefined && value.output !== undefined) {
    [prompt, completion] = [
      instruction(line),
      [{ role: 'assistant', content: text(line, 'output') }],
    ];
  } else {
    throw new DataError(
      `${where}: no demonstration found; give "messages", "prompt" + "completion" or ` +
        `"instruction" + "output"; the row has ${columnList(value)}`,
    );
  }
  if (
    completion.length !== 1 ||
    completion[0]!.role !== 'assistant' ||
    completion[0]!.content.trim() === ''
  ) {
    throw new DataError(
      `${where}: a demonstration's completion must be one assistant turn that is not empty`,
    );
  }
  return { id: idOf(line) ?? contentId([...prompt, ...completion]), prompt, completion };
}

const idOf = (row: Row): string | undefined =>
  optionalText(row, 'id') ?? optionalText(row, 'prompt_id') ?? optionalText(row, 'uuid');

/** ShareGPT's `conversations` of {from, value} as messages, and absent values away. */
function unfolded(row: Row): Row {
  const value = present(row.value);
  const turns = value['conversations'];
  if (value['messages'] !== undefined || !Array.isArray(turns)) return { ...row, value };
  const messages = turns.map((turn: unknown) =>
    isObject(turn) && turn['value'] !== undefined
      ? { role: SHARE_GPT[String(turn['from'])] ?? turn['from'], content: turn['value'] }
      : turn,
  );
  return { ...row, value: { ...value, messages } };
}

const SHARE_GPT: Record<string, Message['role']> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  system: 'system',
};

/** Alpaca's instruction and input as one user message. */
export function instruction(line: Row): Message[] {
  const input = optionalText(line, 'input')?.trim();
  return [{ role: 'user', content: text(line, 'instruction') + (input ? `\n\n${input}` : '') }];
}

/** A column that is a string or a list of messages; a string becomes one message of `role`. */
export function conversation(
  { value, where }: Row,
  column: string,
  role: Message['role'] = 'user',
): Message[] {
  const raw = value[column];
  if (typeof raw === 'string' && raw.trim() !== '') return [{ role, content: raw }];
  if (!isMessages(raw)) {
    throw new DataError(
      `${where}: "${column}" must be text or a list of {"role": "system" | "user" | ` +
        `"assistant", "content": text}, but is ${describe(raw)}`,
    );
  }
  return (raw as Message[]).map((message) => ({ role: message.role, content: message.content }));
}

export function text({ value, where }: Row, column: string): string {
  const raw = value[column];
  if (typeof raw !== 'string' || raw.trim() === '')
    throw new DataError(
      `${where}: column "${column}" must be text that is not empty, but is ${describe(raw)}`,
    );
  return raw;
}

export function optionalText({ value, where }: Row, column: string): string | undefined {
  const raw = value[column];
  if (raw === undefined || raw === null) return undefined;
  if (typeof raw === 'number' && Number.isFinite(raw)) return String(raw);
  if (typeof raw !== 'string')
    throw new DataError(`${where}: column "${column}" must be text, but is ${describe(raw)}`);
  return raw;
}

/**
 * Adds the columns that are there: an absent one must not become `undefined`, artefacts are
 * compared byte by byte.
 */
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

function distinct<T extends { id: string }>(
  lines: readonly SourcedRow[],
  read: (row: Row) => T,
  content: (record: T) => string,
): Loaded<T> {
  const seen = new Set<string>();
  const ids = new Map<string, SourcedRow>();
  const records: T[] = [];
  for (const line of lines) {
    const record = read(line);
    const said = content(record);
    if (seen.has(said)) continue;
    const other = ids.get(record.id);
    if (other?.source === line.source)
      throw new DataError(
        `${line.where}: the id ${describe(record.id)} is also that of ${other.where}; ` +
          'records are joined by id, so it must name one row',
      );
    const named = other === undefined ? record : { ...record, id: `${record.id}-${said}` };
    seen.add(said);
    ids.set(named.id, line);
    records.push(named);
  }
  return { records, duplicates: lines.length - records.length };
}
