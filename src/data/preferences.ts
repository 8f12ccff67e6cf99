/**
 * Given preference pairs. A row is recognised by its columns, as TRL does (its "Dataset formats
 * and types"):
 *
 *   prompt, chosen, rejected      texts (standard) or lists of messages (conversational); also a
 *                                 text prompt beside whole conversations, and a prompt that the
 *                                 answers repeat
 *   messages | conversations | question | query | instruction [+ input] | input, chosen, rejected
 *                                 the prompt as loadPrompts reads it
 *   chosen, rejected              the prompt implicit: the messages that both begin with, or the
 *                                 text up to a turn or a line end (implicit.ts), also HH-RLHF's
 *                                 "\n\nHuman: … \n\nAssistant: …" texts
 *   our own pairs.jsonl; the official CREAM code's dpo file (official.ts)
 *
 * `system` and `history` beside them become messages (prompt-columns.ts). A standard row becomes a
 * user message and the assistant's answers: everything here goes through the chat template. Rows
 * whose answers are equal, and repeated rows, are left out and counted. Any other row that cannot
 * be used is an error with its place, or left out with `onBadRow: 'skip'`.
 */
import { createHash } from 'node:crypto';
import { BadRows, type LeftOut } from './bad-rows.js';
import { underOurNames } from './column-names.js';
import { extractPrompt, splitTexts, turns, type Split } from './implicit.js';
import { columnList, DataError, describe, isObject } from './jsonl.js';
import { likelyMapping } from './likely-column.js';
import {
  beginsWith,
  conversation,
  CONVERSATIONS,
  isBlank,
  isEmpty,
  listInText,
  checkTexts,
  refuseUnreadKeys,
  sameMessage,
} from './messages.js';
import { officialPairs, readOfficial } from './official.js';
import {
  completePrompt,
  findPrompt,
  optionalText,
  presentRow,
  rename,
  textsWithoutPrompt,
  withoutPrompt,
  type FoundPrompt,
} from './prompt-columns.js';
import { LOAD_OPTIONS, type LoadOptions, type RowOptions } from './prompts.js';
import type { Message } from './records.js';
import { checkReading, readObjects, type Row } from './rows.js';
import { inSlices } from './row-slices.js';
import { describesRow, holdsText, UnreadColumns } from './unread-columns.js';

export { extractPrompt } from './implicit.js';

/** A preference pair as messages. */
export interface PreferenceRecord {
  /** Unique within its source. */
  id: string;
  /** Ends where the assistant is to speak. */
  prompt: Message[];
  /**
   * The turns after the prompt: one assistant turn, or several turns of which the last is the
   * assistant's.
   */
  chosen: Message[];
  /** Like `chosen`. */
  rejected: Message[];
  /** C of the prompt in [0, 1], if the source has it. */
  consistency?: number;
}

/** The pairs of a source, and the rows that were left out. */
export interface Preferences extends LeftOut {
  /** In the order of the source. */
  records: PreferenceRecord[];
  /** The file and line of each record, by its id. */
  places: ReadonlyMap<string, string>;
}

/** Reads preference pairs. @throws DataError naming row and column; also if no pair is left. */
export async function loadPreferences(
  source: string,
  options: LoadOptions = {},
): Promise<Preferences> {
  checkReading([source], options, LOAD_OPTIONS);
  const { columns = [], onBadRow, controlTokens: _, ...reading } = options;
  const bad = new BadRows(onBadRow);
  const official = await readOfficial(source);
  const rows = official
    ? officialPairs(official)
    : await readObjects(source, { ...reading, onBadRow: bad.add });
  const records: PreferenceRecord[] = [];
  const equal: { reason: string }[] = [];
  const seen = new Map<string, string>();
  const ids = new Map<string, string>();
  const unread = new UnreadColumns();
  let duplicates = 0;
  let duplicate: string | undefined;
  for await (const given of inSlices(rows)) {
    const read = bad.try(() => {
      const row = official ? given : rename(given, columns);
      const pair = preferenceOf(row, options);
      refuseUnusable(pair, row.where);
      return { row, pair };
    });
    if (read === undefined) continue;
    const { row, pair } = read;
    if (sameAnswers(pair)) {
      equal.push({ reason: `${row.where}: "chosen" and "rejected" are equal` });
      continue;
    }
    const said = contentOf(pair);
    const earlier = seen.get(said);
    if (earlier !== undefined) {
      duplicates++;
      duplicate ??= `${row.where} repeats ${earlier}`;
      continue;
    }
    const id = bad.try(() => freeId(row, said, ids));
    if (id === undefined) continue;
    seen.set(said, row.where);
    if (!official) unread.add(row.value, [...pair.prompt, ...pair.chosen, ...pair.rejected]);
    records.push({ ...pair, id });
  }
  bad.check(source, records.length);
  const skipped = [...bad.skipped, ...equal];
  if (records.length === 0)
    throw new DataError(
      `${source} has no usable pair: ` +
        (skipped[0]?.reason ?? 'every row repeats another') +
        (skipped.length > 1 ? `, and ${skipped.length - 1} more like it` : ''),
    );
  return { records, duplicates, duplicate, skipped, places: ids, unread: unread.names };
}

type Pair = Omit<PreferenceRecord, 'id'>;

/** The pair of one row. @throws DataError */
export function preferenceOf(row: Row, options: RowOptions = {}): Pair {
  const given = presentRow(row);
  const { value, where } = given;
  for (const column of ['chosen', 'rejected']) {
    if (value[column] === undefined)
      throw new DataError(
        `${where}: no preference pair found: column ${JSON.stringify(column)} is missing; ` +
          `give "prompt", "chosen" and "rejected"; the row has ${columnList(value)}; columns ` +
          `give them other names, such as ${likelyMapping([column], value)}`,
      );
  }
  const [chosen, rejected] = [answerIn(given, 'chosen'), answerIn(given, 'rejected')];
  if (typeof chosen !== typeof rejected)
    throw new DataError(
      `${where}: "chosen" is ` +
        (typeof chosen === 'object'
          ? 'a list of messages and "rejected" is not; '
          : 'not a list of messages and "rejected" is; ') +
        'both must be of one kind',
    );
  const { used, ...split } =
    typeof chosen === 'object'
      ? fromMessages(given, chosen, rejected as Message[])
      : fromTexts(given, chosen, rejected as string);
  if (split.prompt.length === 0)
    throw new DataError(
      `${where}: "chosen" and "rejected" share no beginning, so there is no prompt; give ` +
        `one in the column "prompt"; the row has ${columnList(value)}`,
    );
  const prompt = completePrompt(given, { messages: split.prompt, used }, split.chosen);
  if (prompt.at(-1)!.role === 'assistant')
    throw new DataError(
      `${where}: the prompt ends with an assistant turn; it must end where the model is to speak`,
    );
  const pair = { ...split, prompt };
  checkTexts([...prompt, ...pair.chosen, ...pair.rejected], where, options);
  return { ...pair, ...consistencyOf(row) };
}

type SplitRow = Split<Message> & { used: readonly string[] };

function fromMessages(row: Row, chosen: Message[], rejected: Message[]): SplitRow {
  const found = promptBefore(row, chosen.at(-1)?.content);
  const isList = found !== undefined && Array.isArray(found.raw);
  if (!isList) {
    // Without a prompt, or with one that repeats the first question as text, the conversations
    // contain the prompt.
    const split = extractPrompt(chosen, rejected, sameMessage);
    if (split.prompt.length > 0) return { ...split, used: [] };
  }
  // The answers are messages and the question is a text: TRL would find no prompt here.
  const { messages, used } = found ?? { messages: [], used: [] };
  const prompt = [...systemBefore(messages, chosen, rejected), ...messages];
  const [own, other] = [chosen, rejected].map((turns) => withoutPrompt(turns, prompt));
  if (own === chosen || other === rejected) {
    if (own !== chosen || other !== rejected)
      throw new DataError(
        `${row.where}: only one of "chosen" and "rejected" begins with the prompt; repeat it in ` +
          'both or in neither',
      );
  }
  return { prompt, chosen: own!, rejected: other!, used };
}

/** The system message that both answers have before a prompt that they repeat. */
function systemBefore(prompt: Message[], chosen: Message[], rejected: Message[]): Message[] {
  const [system] = chosen;
  return system?.role === 'system' &&
    prompt[0]?.role !== 'system' &&
    [chosen, rejected].every((turns) => beginsWith(turns, [system, ...prompt]))
    ? [system]
    : [];
}

/** The row's own prompt. If the conversation ends with the chosen completion, that is removed. */
function promptBefore(
  row: Row,
  answer: string | undefined,
): (FoundPrompt & { raw: unknown }) | undefined {
  const found = findPrompt(row);
  if (found === undefined) return undefined;
  const { messages, used } = found;
  const last = messages.at(-1)!;
  const hasAnswer =
    CONVERSATIONS.includes(used[0]!) && last.role === 'assistant' && last.content === answer;
  return {
    messages: hasAnswer ? messages.slice(0, -1) : messages,
    used,
    raw: CONVERSATIONS.includes(used[0]!) ? messages : row.value[used[0]!],
  };
}

function fromTexts(row: Row, chosen: string, rejected: string): SplitRow {
  // Whole dialogues contain their prompt; a column with the question must then repeat it.
  if ([chosen, rejected].every((said) => turns(said) !== null))
    return { ...splitTexts(chosen, rejected, row.where), used: [] };
  const found = promptBefore(row, chosen);
  if (found === undefined) {
    const other = unknownText(row.value);
    if (other !== undefined)
      throw new DataError(
        `${row.where}: no prompt found, but a column ${JSON.stringify(other)} of text that could ` +
          `be it; name it with columns, such as prompt=${other}, or remove it; the row has ` +
          columnList(row.value),
      );
    return { ...splitTexts(chosen, rejected, row.where), used: [] };
  }
  const { messages: prompt, used } = found;
  const [own, other] = textsWithoutPrompt([chosen, rejected], prompt).map(assistant);
  return { prompt, chosen: [own!], rejected: [other!], used };
}

/** The first text column that may be the question of a pair without a prompt. */
const unknownText = (value: Record<string, unknown>): string | undefined =>
  Object.keys(value).find(
    (column) => !isEmpty(value[column]) && !describesRow(column) && holdsText(value[column]),
  );

const assistant = (content: string): Message => ({ role: 'assistant', content });

/** One of the two answers: messages, or a text. An empty list is an empty answer. */
function answerIn(row: Row, column: string): Message[] | string {
  const { value, where } = row;
  const raw = value[column];
  if (typeof raw === 'string')
    return listInText(raw, column, where) === undefined ? raw : conversation(row, column);
  if (Array.isArray(raw)) return raw.length === 0 ? [] : conversation(row, column);
  if (isObject(raw)) {
    if ((raw['role'] ?? raw['from']) !== undefined) return conversation(row, column);
    // Some data sets have the answer as {content} or {text}.
    const held = raw['content'] ?? raw['text'];
    if (typeof held === 'string') {
      refuseUnreadKeys(raw, `${where}: ${JSON.stringify(column)}`);
      return held;
    }
  }
  throw new DataError(
    `${where}: column ${JSON.stringify(column)} must be text or a list of messages, but is ` +
      describe(raw),
  );
}

/** Reads the row as given: here NaN is an error and not an absent value. */
function consistencyOf({ value, where }: Row): { consistency?: number } {
  const raw = underOurNames({ value, where }).value['consistency'];
  if (raw === undefined || raw === null) return {};
  if (typeof raw !== 'number' || !(raw >= 0 && raw <= 1))
    throw new DataError(
      `${where}: column "consistency" must be a number from 0 to 1, but is ${describe(raw)}`,
    );
  return { consistency: raw };
}

/** @throws DataError if an answer is empty or is not the assistant's */
function refuseUnusable({ chosen, rejected }: Pair, where: string): void {
  for (const [column, answer] of [
    ['chosen', chosen],
    ['rejected', rejected],
  ] as const) {
    const [first] = answer;
    const last = answer.at(-1);
    if (last === undefined || isBlank(last.content))
      throw new DataError(`${where}: "${column}" is empty; remove the row`);
    if (last.role !== 'assistant')
      throw new DataError(
        `${where}: "${column}" ends with a ${last.role} turn; it must end with the assistant's ` +
          'answer',
      );
    if (first!.role !== 'assistant')
      throw new DataError(
        `${where}: "${column}" begins with a ${first!.role} turn behind the prompt; it must ` +
          "begin with the assistant's answer, or with all of the prompt",
      );
  }
}

const sameAnswers = ({ chosen, rejected }: Pair): boolean =>
  JSON.stringify(plainMessages(chosen)) === JSON.stringify(plainMessages(rejected));

const plainMessages = (messages: readonly Message[]): [string, string][] =>
  messages.map(({ role, content }) => [role, content]);
const contentOf = ({ prompt, chosen, rejected }: Pair): string =>
  createHash('sha256')
    .update(JSON.stringify([prompt, chosen, rejected].map(plainMessages)))
    .digest('hex')
    .slice(0, 16);

/**
 * `id`, else `prompt_id`, else the hash of the row's content. Several pairs may share a prompt_id;
 * an `id` must be unique.
 */
function freeId(row: Row, said: string, ids: Map<string, string>): string {
  const given = presentRow(row);
  const own = optionalText(given, 'id') || undefined;
  const shared = optionalText(given, 'prompt_id') || said;
  const other = own === undefined ? undefined : ids.get(own);
  if (other !== undefined)
    throw new DataError(
      `${row.where}: the id ${describe(own)} is also that of ${other}; an id must name one row`,
    );
  const id = own ?? (ids.has(shared) ? said : shared);
  ids.set(id, row.where);
  return id;
}
