/**
 * The columns of a row that make up its conversation. Each of them is used, repeats text that was
 * used, or is refused by name, so none is silently dropped.
 *
 *   prompt, messages, conversations, question, query, instruction, input: the prompt itself
 *   input, context beside instruction, context beside question: appended or prepended to it
 *   system (system_prompt, …, see column-names.ts): the system message at the front
 *   history: earlier turns, as Alpaca's [[user, assistant], …] or as messages
 *   tools, documents, images and the like: refused
 */
import {
  isRead,
  isUnread,
  knownNames,
  optionColumns,
  ourName,
  underOurNames,
} from './column-names.js';
import { dialoguePrompt } from './implicit.js';
import { columnList, DataError, describe, MappingError } from './jsonl.js';
import {
  beginsWith,
  conversation,
  CONVERSATIONS,
  isBlank,
  isEmpty,
  listInText,
  messagesFrom,
} from './messages.js';
import type { Message } from './records.js';
import { present, type Row } from './rows.js';

/** Columns that can be the prompt; the first non-empty one counts. */
export const PROMPT_CANDIDATES: readonly string[] = [
  'prompt',
  ...CONVERSATIONS,
  'question',
  'query',
  'instruction',
  'input',
];

/** Columns that can be the completion of a demonstration. */
export const ANSWERS: readonly string[] = ['completion', 'output', 'response'];

/** A prompt as found, with the columns it was made of. */
export interface FoundPrompt {
  messages: Message[];
  used: readonly string[];
}

/** The left side of a mapping that leaves a column out: `ignore=context`. */
const IGNORE = 'ignore';

/**
 * A row with the user's column names replaced by ours, and without those that are to be ignored.
 * @throws DataError
 */
export function rename(row: Row, columns: readonly string[]): Row {
  if (columns.length === 0) return row;
  const pairs = columns.map((pair) => {
    const [ours, theirs] = pair.split(/=(.*)/s, 2) as [string, string | undefined];
    if (!ours || !theirs)
      throw new MappingError(
        `the column mapping ${JSON.stringify(pair)} is not of the form ours=theirs, such ` +
          'as prompt=query',
      );
    if (ours !== IGNORE && !isRead(ours))
      throw new MappingError(
        `the column mapping ${JSON.stringify(pair)} names ${JSON.stringify(ours)}, which is not ` +
          `read; the name on the left must be one of ${knownNames()}, or ${IGNORE}`,
      );
    return { ours, theirs };
  });
  const named = pairs.filter(({ ours }) => ours !== IGNORE);
  const ignored = new Set(pairs.flatMap(({ ours, theirs }) => (ours === IGNORE ? [theirs] : [])));
  refuseTwice(named, ignored);
  const value = withoutRivals(
    row.value,
    named.map(({ ours }) => ourName(ours)!),
  );
  for (const { theirs } of named) delete value[theirs];
  for (const column of Object.keys(value))
    if (ignored.has(column) || ignored.has(ourName(column) ?? column)) delete value[column];
  for (const { ours, theirs } of named) {
    if (row.value[theirs] === undefined)
      throw new MappingError(
        `${row.where}: there is no column ${JSON.stringify(theirs)} to read as ` +
          `${JSON.stringify(ours)}; the row has ${columnList(row.value)}`,
      );
    value[ours] = row.value[theirs];
  }
  return { value, where: row.where };
}

/**
 * The row without the columns that could take the place of those that the user has `named`: other
 * prompts, and other completions. `input` and `context` are parts of a conversation and never take
 * the place of another column.
 */
function withoutRivals(row: Row['value'], named: readonly string[]): Row['value'] {
  const isInstruction = [...named, ...Object.keys(row).map(ourName)].includes('instruction');
  const isPrompt = (name: string) =>
    PROMPT_CANDIDATES.includes(name) && !(name === 'input' && isInstruction);
  const prompts = named.filter(isPrompt);
  const decided =
    named.some((name) => ANSWERS.includes(name)) ||
    prompts.some((name) => CONVERSATIONS.includes(name));
  const isRival = (column: string): boolean => {
    const ours = ourName(column) ?? '';
    if (ANSWERS.includes(ours)) return decided;
    return prompts.length > 0 && ours !== 'input' && PROMPT_CANDIDATES.includes(ours);
  };
  return Object.fromEntries(Object.entries(row).filter(([column]) => !isRival(column)));
}

interface Mapping {
  ours: string;
  theirs: string;
}

/** @throws DataError where two columns are to be read as one, or one is read and ignored */
function refuseTwice(named: readonly Mapping[], ignored: ReadonlySet<string>): void {
  for (const [i, { ours, theirs }] of named.entries()) {
    if (ignored.has(theirs))
      throw new MappingError(
        `the column mappings read ${JSON.stringify(theirs)} as ${JSON.stringify(ours)} and ` +
          'ignore it; leave one of them out',
      );
    const other = named.slice(0, i).find((pair) => ourName(pair.ours) === ourName(ours));
    if (other !== undefined)
      throw new MappingError(
        `the column mappings read both ${JSON.stringify(other.theirs)} and ` +
          `${JSON.stringify(theirs)} as ${JSON.stringify(ours)}; leave one of them out`,
      );
  }
}

/** The first of `columns` that is not empty, else the first that exists. */
export const pick = ({ value }: Row, columns: readonly string[]): string | undefined =>
  columns.find((column) => !isEmpty(value[column])) ??
  columns.find((column) => value[column] !== undefined);

/** The prompt of a row of pairs or demonstrations, before system and history. @throws DataError */
export function findPrompt(row: Row): FoundPrompt | undefined {
  const column = pick(row, PROMPT_CANDIDATES);
  switch (column) {
    case undefined:
      return undefined;
    case 'instruction':
      return { messages: instruction(row), used: ['instruction', 'input', 'context'] };
    case 'question':
      return {
        messages: [{ role: 'user', content: inContext(row, text(row, 'question')) }],
        used: ['question', 'context'],
      };
    default:
      return { messages: spoken(row, column), used: [column] };
  }
}

/** The messages of a column that can be the prompt; a text in HH-RLHF's form has several turns. */
export function spoken(row: Row, column: string): Message[] {
  const raw = row.value[column];
  const turns = typeof raw === 'string' ? dialoguePrompt(raw) : null;
  return turns ?? conversation(row, column);
}

/** A question with the row's `context` before it. */
export function inContext(row: Row, question: string): string {
  const context = optionalText(row, 'context')?.trim();
  return context ? `${context}\n${question}` : question;
}

/** Alpaca's instruction and input (Dolly's: context) as one user message. */
export function instruction(row: Row): Message[] {
  const parts = ['context', 'input'].map((column) => optionalText(row, column)?.trim());
  const content = [text(row, 'instruction'), ...parts.filter(Boolean)].join('\n\n');
  return [{ role: 'user', content }];
}

/**
 * The prompt with the row's system message and history. @throws DataError if they cannot be used,
 * or if another column of the conversation was not used
 */
export function completePrompt(
  row: Row,
  { messages, used }: FoundPrompt,
  answer: readonly Message[] = [],
): Message[] {
  const { value, where } = row;
  if (!isEmpty(value['tools']))
    throw new DataError(
      `${where}: the columns "tools" and "functions" are not read: the chat template gets no ` +
        'tools, which would change the conversation; leave the row out, write the tools into ' +
        'a system message, or ignore them with columns, such as ignore=tools',
    );
  const prompt = withSystem(row, withHistory(row, messages));
  refuseUnread(row, used, [...prompt, ...answer]);
  return prompt;
}

function withSystem(row: Row, messages: readonly Message[]): Message[] {
  if (isEmpty(row.value['system'])) return [...messages];
  const content = text(row, 'system');
  const own = messages[0]?.role === 'system' ? messages[0].content.trim() : undefined;
  if (own === content.trim()) return [...messages];
  if (own !== undefined)
    throw new DataError(
      `${row.where}: two system messages, in "system" and at the front of the conversation; ` +
        'give one',
    );
  return [{ role: 'system', content }, ...messages];
}

function withHistory(row: Row, messages: readonly Message[]): Message[] {
  const { value, where } = row;
  const raw = value['history'];
  if (isEmpty(raw)) return [...messages];
  const list = typeof raw === 'string' ? listInText(raw, 'history', where) : raw;
  if (!Array.isArray(list))
    throw new DataError(
      `${where}: column "history" must be a list of [user, assistant] or of messages, but is ` +
        describe(raw),
    );
  const turns = list.flatMap((turn: unknown, i) => {
    if (!Array.isArray(turn)) return messagesFrom([turn], 'history', where);
    if (turn.length !== 2 || turn.some((said) => typeof said !== 'string'))
      throw new DataError(
        `${where}: "history" entry ${i + 1} must be [user, assistant], but is ${describe(turn)}`,
      );
    const [asked, answered] = turn as [string, string];
    return [
      { role: 'user' as const, content: asked },
      { role: 'assistant' as const, content: answered },
    ];
  });
  if (messages.length > 1)
    throw new DataError(
      `${where}: column "history" stands beside a conversation of ${messages.length} turns; give ` +
        'all turns in one of them',
    );
  return [...turns, ...messages];
}

/** @throws DataError naming a column of the conversation that `read` does not contain */
function refuseUnread({ value, where }: Row, used: readonly string[], read: Message[]): void {
  const columns = Object.keys(value);
  const others = columns.filter(
    (column) => isUnread(column) && ['string', 'object'].includes(typeof value[column]),
  );
  refuseOptions(value, where, optionColumns(columns), read);
  for (const column of [...PROMPT_CANDIDATES, 'context', ...others]) {
    if (used.includes(column) || isEmpty(value[column])) continue;
    if (isRepeated(value[column], column, read, where)) continue;
    const other = used[0];
    throw new DataError(
      other !== undefined && column !== 'input' && PROMPT_CANDIDATES.includes(column)
        ? `${where}: ${JSON.stringify(other)} and ${JSON.stringify(column)} could both be the ` +
            'prompt, and they differ; name the right one with columns, such as ' +
            `${CONVERSATIONS.includes(column) ? column : other}=${column}, or remove the other`
        : `${where}: column ${JSON.stringify(column)} changes the conversation, and ` +
            (other === undefined ? 'the prompt does not contain it' : `beside "${other}" it is `) +
            (other === undefined ? '' : 'not read') +
            `; write it into the prompt, or ignore it with columns: [${IGNORE}=${column}]`,
    );
  }
}

/** @throws DataError naming a column with options of the question that `read` does not contain */
function refuseOptions(
  value: Row['value'],
  where: string,
  columns: readonly string[],
  read: Message[],
): void {
  const said = (option: unknown): boolean =>
    typeof option === 'object' && option !== null
      ? Object.values(option).every((part) => typeof part === 'number' || said(part))
      : isEmpty(option) || read.some(({ content }) => contains(content, String(option).trim()));
  const column = columns.find((name) => !said(value[name]));
  if (column !== undefined)
    throw new DataError(
      `${where}: column ${JSON.stringify(column)} looks like options of the question, and the ` +
        'prompt does not contain them; give them as a list "choices" (or with columns, such as ' +
        'choices=options), write them into the prompt, or remove them',
    );
}

/** Whether a column only repeats text that was read. */
function isRepeated(raw: unknown, column: string, read: Message[], where: string): boolean {
  const list =
    typeof raw === 'string' ? (dialoguePrompt(raw) ?? listInText(raw, column, where)) : raw;
  if (!Array.isArray(list) || !(column === 'prompt' || CONVERSATIONS.includes(column)))
    return typeof raw === 'string' && read.some(({ content }) => contains(content, raw.trim()));
  const other = messagesFrom(list, column, where);
  const ours = read[0]?.role === 'system' && other[0]?.role !== 'system' ? read.slice(1) : read;
  // The other one may be longer: UltraChat has the first question as `prompt` beside all
  // `messages`.
  return beginsWith(ours, other) || beginsWith(other, ours);
}

/** Whether `whole` has `part` as words of its own. */
export function contains(whole: string, part: string): boolean {
  const letter = /[\p{L}\p{N}]/u;
  for (let at = whole.indexOf(part); at !== -1; at = whole.indexOf(part, at + 1)) {
    const before = whole.slice(Math.max(0, at - 1), at);
    const after = whole.slice(at + part.length, at + part.length + 1);
    if (!(letter.test(before) && letter.test(part[0]!))) {
      if (!(letter.test(after) && letter.test(part.at(-1)!))) return true;
    }
  }
  return false;
}

/**
 * Removes a prompt of one message from answers that all begin with it and go on with an answer, not
 * within a word. A single word does not count as a repeated prompt.
 */
export function textsWithoutPrompt(texts: readonly string[], prompt: readonly Message[]): string[] {
  const start = prompt.length === 1 ? prompt[0]!.content : '';
  const repeated = /\S\s+\S/.test(start) && texts.every((said) => repeatsPrompt(said, start));
  return texts.map((said) => (repeated ? said.slice(start.length).trimStart() : said));
}

const repeatsPrompt = (said: string, prompt: string): boolean =>
  said.startsWith(prompt) &&
  (/[^\p{L}\p{N}]$/u.test(prompt) || /^[^\p{L}\p{N}]/u.test(said.slice(prompt.length))) &&
  said.slice(prompt.length).trim() !== '';

/** `turns` without the `prompt` if they begin with it. */
export const withoutPrompt = (turns: Message[], prompt: readonly Message[]): Message[] =>
  prompt.length > 0 && beginsWith(turns, prompt) ? turns.slice(prompt.length) : turns;

/** The text of a column that must have one. @throws DataError */
export function text({ value, where }: Row, column: string): string {
  const raw = value[column];
  if (typeof raw !== 'string' || isBlank(raw))
    throw new DataError(
      `${where}: column "${column}" must be text that is not empty, but is ${describe(raw)}`,
    );
  return raw;
}

/**
 * The text of a column, a number as its digits; undefined if absent. @throws DataError otherwise
 */
export function optionalText({ value, where }: Row, column: string): string | undefined {
  const raw = value[column];
  if (raw === undefined || raw === null || Number.isNaN(raw)) return undefined;
  if (typeof raw === 'number' && Number.isFinite(raw)) return String(raw);
  if (typeof raw !== 'string')
    throw new DataError(`${where}: column "${column}" must be text, but is ${describe(raw)}`);
  return raw;
}

/**
 * The known answer of a prompt; undefined where it is neither text nor a number, for no completion
 * can be compared with true or with a list.
 */
export const knownAnswerOf = (row: Row): string | undefined =>
  ['string', 'number'].includes(typeof row.value['answer'])
    ? optionalText(row, 'answer')
    : undefined;

/** The columns that have a value, under our names. @throws DataError for two of one meaning. */
export const presentRow = (row: Row): Row =>
  underOurNames({ value: present(row.value), where: row.where });
