/**
 * Preference pairs of others. A row is recognised by its columns, as TRL does (its "Dataset formats
 * and types"):
 *
 *   prompt, chosen, rejected texts (standard) or lists of messages (conversational); also a text
 *   prompt beside whole conversations
 *   chosen, rejected the prompt implicit: the messages, or the characters, that both begin with
 *   chosen, rejected texts of "\n\nHuman: … \n\nAssistant: …" turns (HH-RLHF): conversations
 *   written out
 *   instruction [+ input], chosen, rejected; question, chosen, rejected as Alpaca-like sets have it
 *   our own pairs.jsonl; the official CREAM code's dpo file (official.ts)
 *
 * A standard row becomes a user message and the assistant's answers: everything here goes through
 * the chat template. Rows that teach nothing (chosen equal to rejected, an empty answer, a repeated
 * row) are left out and counted; a row of another shape is an error with its place.
 */
import { createHash } from 'node:crypto';
import { columnList, DataError, describe, isObject } from './jsonl.js';
import { officialPairs, readOfficial } from './official.js';
import { conversation, instruction, optionalText, text } from './prompts.js';
import type { Message, PairRecord } from './records.js';
import { present, readObjects, type Row, type SourceOptions } from './rows.js';

export interface PreferenceRecord {
  id: string;
  /** Ends where the assistant is to speak. */
  prompt: Message[];
  /**
   * What follows the prompt: one assistant turn, or several turns of which the last is the
   * assistant's.
   */
  chosen: Message[];
  rejected: Message[];
  /** C of the prompt, where the source has it: in [0, 1]. */
  consistency?: number;
}

export interface Preferences {
  records: PreferenceRecord[];
  /** Rows left out because an earlier one says the same. */
  duplicates: number;
  /** Rows left out because they teach nothing; `reason` is a sentence with the row's place. */
  skipped: { reason: string }[];
}

/** Reads preference pairs. @throws DataError naming row and column; also where no pair is left. */
export async function loadPreferences(
  source: string,
  options: SourceOptions = {},
): Promise<Preferences> {
  const official = await readOfficial(source);
  const rows = official ? officialPairs(official) : await readObjects(source, options);
  const records: PreferenceRecord[] = [];
  const skipped: { reason: string }[] = [];
  const seen = new Set<string>();
  const ids = new Map<string, string>();
  let duplicates = 0;
  for (const row of rows) {
    const pair = preferenceOf(row);
    const reason = uselessness(pair);
    if (reason !== undefined) {
      skipped.push({ reason: `${row.where}: ${reason}` });
      continue;
    }
    const said = contentOf(pair);
    if (seen.has(said)) {
      duplicates++;
      continue;
    }
    seen.add(said);
    records.push({ ...pair, id: freeId(row, said, ids) });
  }
  if (records.length === 0)
    throw new DataError(
      `${source} has no usable pair: ` +
        (skipped[0]?.reason ?? 'every row repeats another') +
        (skipped.length > 1 ? `, and ${skipped.length - 1} more like it` : ''),
    );
  return { records, duplicates, skipped };
}

type Pair = Omit<PreferenceRecord, 'id'>;

/** The pair of one row. @throws DataError */
export function preferenceOf(row: Row): Pair {
  const value = present(row.value);
  const { where } = row;
  const given = { value, where };
  for (const column of ['chosen', 'rejected']) {
    if (value[column] === undefined)
      throw new DataError(
        `${where}: no preference pair found: column ${JSON.stringify(column)} is missing; ` +
          `give "prompt", "chosen" and "rejected"; the row has ${columnList(value)}`,
      );
  }
  const conversational = Array.isArray(value['chosen']);
  if (conversational !== Array.isArray(value['rejected']))
    throw new DataError(
      `${where}: "chosen" is ` +
        (conversational
          ? 'a list of messages and "rejected" is not; '
          : 'not a list of messages and "rejected" is; ') +
        'both must be of one kind',
    );
  const pair = conversational ? fromMessages(given) : fromTexts(given);
  if (pair.prompt.length === 0)
    throw new DataError(
      `${where}: "chosen" and "rejected" share no beginning, so there is no prompt; give ` +
        'one in the column "prompt"',
    );
  if (pair.prompt.at(-1)!.role === 'assistant')
    throw new DataError(
      `${where}: the prompt ends with an assistant turn; it must end where the model is to speak`,
    );
  return { ...pair, ...consistencyOf(given) };
}

function fromMessages(row: Row): Pair {
  const [chosen, rejected] = [messagesOrNone(row, 'chosen'), messagesOrNone(row, 'rejected')];
  if (Array.isArray(row.value['prompt']))
    return { prompt: conversation(row, 'prompt'), chosen, rejected };
  // Without a prompt, or with one that repeats the first question as text, the conversations hold
  // it.
  const split = extractPrompt(chosen, rejected, sameMessage);
  if (split.prompt.length > 0) return split;
  // Answers alone as messages, beside the question as text: TRL would find no prompt.
  return { prompt: textPrompt(row) ?? [], chosen, rejected };
}

/** The question of a row that has it as text. */
function textPrompt(row: Row): Message[] | undefined {
  const { value } = row;
  if (value['prompt'] !== undefined) return conversation(row, 'prompt');
  if (value['instruction'] !== undefined) return instruction(row);
  if (value['question'] === undefined) return undefined;
  const system = optionalText(row, 'system')?.trim();
  return [
    ...(system ? [{ role: 'system' as const, content: system }] : []),
    { role: 'user', content: text(row, 'question') },
  ];
}

function fromTexts(row: Row): Pair {
  const [chosen, rejected] = [textOrEmpty(row, 'chosen'), textOrEmpty(row, 'rejected')];
  const question = textPrompt(row);
  if (question)
    return { prompt: question, chosen: [assistant(chosen)], rejected: [assistant(rejected)] };
  const [a, b] = [turns(chosen), turns(rejected)];
  if (a && b) return extractPrompt(a, b, sameMessage);
  // Characters are code points, as in Python: half a surrogate pair is no text.
  const split = extractPrompt([...chosen], [...rejected], (x, y) => x === y, ' ');
  const prompt = split.prompt.join('');
  return {
    prompt: prompt.trim() === '' ? [] : [{ role: 'user', content: prompt }],
    chosen: [assistant(split.chosen.join(''))],
    rejected: [assistant(split.rejected.join(''))],
  };
}

/**
 * The common beginning of two sequences, and what follows it in each: TRL's extract_prompt. As
 * there, of two sequences one of which begins with the whole other one, the last common element
 * stays with the answers, and a `space` just before the difference is not the prompt's. (Where they
 * differ from the start TRL looks at the last element instead; there is no prompt then.)
 */
export function extractPrompt<T>(
  chosen: readonly T[],
  rejected: readonly T[],
  same: (a: T, b: T) => boolean,
  space?: T,
): { prompt: T[]; chosen: T[]; rejected: T[] } {
  const shorter = Math.min(chosen.length, rejected.length);
  let at = 0;
  while (at < shorter && same(chosen[at]!, rejected[at]!)) at++;
  if (at === shorter) at = Math.max(0, shorter - 1);
  else if (at > 0 && space !== undefined && chosen[at - 1] === space) at--;
  return { prompt: chosen.slice(0, at), chosen: chosen.slice(at), rejected: rejected.slice(at) };
}

/** "\n\nHuman: Hi\n\nAssistant: Hello" as messages; null where a text is something else. */
function turns(dialogue: string): Message[] | null {
  if (!/^\s*Human:/.test(dialogue)) return null;
  return dialogue
    .trim()
    .split(/\n\n(?=(?:Human|Assistant):)/)
    .map((turn) => {
      const [, who, content] = /^(Human|Assistant): ?([^]*)$/.exec(turn) ?? [];
      return { role: who === 'Human' ? 'user' : 'assistant', content: (content ?? turn).trim() };
    });
}

const sameMessage = (a: Message, b: Message): boolean =>
  a.role === b.role && a.content === b.content;
const assistant = (content: string): Message => ({ role: 'assistant', content });

/** An empty list is an empty answer, to be skipped; anything else must be messages. */
function messagesOrNone(row: Row, column: string): Message[] {
  const raw = row.value[column];
  return Array.isArray(raw) && raw.length === 0 ? [] : conversation(row, column, 'assistant');
}

function textOrEmpty({ value, where }: Row, column: string): string {
  const raw = value[column];
  if (typeof raw === 'string') return raw;
  // UltraFeedback-like sets have the answer as {content, role} or {text}.
  if (isObject(raw) && typeof raw['content'] === 'string') return raw['content'];
  throw new DataError(
    `${where}: column ${JSON.stringify(column)} must be text or a list of messages, but is ` +
      `${describe(raw)}`,
  );
}

function consistencyOf({ value, where }: Row): { consistency?: number } {
  const raw = value['consistency'];
  if (raw === undefined) return {};
  if (typeof raw !== 'number' || !(raw >= 0 && raw <= 1))
    throw new DataError(
      `${where}: column "consistency" must be a number from 0 to 1, but is ${describe(raw)}`,
    );
  return { consistency: raw };
}

/** Why a pair teaches nothing, or nothing. */
function uselessness({ chosen, rejected }: Pair): string | undefined {
  for (const [column, answer] of [
    ['chosen', chosen],
    ['rejected', rejected],
  ] as const) {
    const last = answer.at(-1);
    if (last === undefined || last.content.trim() === '') return `"${column}" is empty`;
    if (last.role !== 'assistant')
      return `"${column}" ends with a ${last.role} turn, not with the assistant's answer`;
  }
  return JSON.stringify(plainMessages(chosen)) === JSON.stringify(plainMessages(rejected))
    ? '"chosen" and "rejected" are equal'
    : undefined;
}

const plainMessages = (messages: readonly Message[]): [string, string][] =>
  messages.map(({ role, content }) => [role, content]);
const contentOf = ({ prompt, chosen, rejected }: Pair): string =>
  createHash('sha256')
    .update(JSON.stringify([prompt, chosen, rejected].map(plainMessages)))
    .digest('hex')
    .slice(0, 16);

/**
 * `id`, else `prompt_id`, else the hash of what the row says. Several pairs may share a prompt_id;
 * an `id` names one.
 */
function freeId(row: Row, said: string, ids: Map<string, string>): string {
  const value = present(row.value);
  const given = { value, where: row.where };
  const own = optionalText(given, 'id');
  const shared = optionalText(given, 'prompt_id') ?? said;
  const other = own === undefined ? undefined : ids.get(own);
  if (other !== undefined)
    throw new DataError(
      `${row.where}: the id ${describe(own)} is also that of ${other}; an id must name one row`,
    );
  const id = own ?? (ids.has(shared) ? said : shared);
  ids.set(id, row.where);
  return id;
}

export type TrlFormat = 'conversational' | 'standard';

/**
 * Pairs as TRL reads them: messages, or (one user turn, one answer) texts. @throws DataError where
 * a pair does not fit texts
 */
export function toTrl(
  pairs: readonly (PreferenceRecord | PairRecord)[],
  format: TrlFormat = 'conversational',
): object[] {
  return pairs.map((pair) => {
    const id = 'id' in pair ? pair.id : pair.prompt_id;
    const weight =
      'consistency' in pair && pair.consistency !== undefined
        ? { consistency: pair.consistency }
        : {};
    const [prompt, chosen, rejected] = [pair.prompt, pair.chosen, pair.rejected].map((messages) =>
      messages.map(({ role, content }) => ({ role, content })),
    ) as [Message[], Message[], Message[]];
    if (format === 'conversational') return { id, prompt, chosen, rejected, ...weight };
    if (
      prompt.length !== 1 ||
      prompt[0]!.role !== 'user' ||
      chosen.length !== 1 ||
      rejected.length !== 1
    ) {
      throw new DataError(
        `the pair ${JSON.stringify(id)} is a conversation of several turns or has a system ` +
          `message, which TRL's standard format cannot hold; use its conversational format`,
      );
    }
    return {
      id,
      prompt: prompt[0]!.content,
      chosen: chosen[0]!.content,
      rejected: rejected[0]!.content,
      ...weight,
    };
  });
}
