/**
 * The files of the paper's own code (github Raibows/CREAM), read and written: one JSON object per
 * file, a row under each prompt's id.
 *
 *   prompts         {id: [user message]}, which infer.py samples for
 *   demonstrations  {id: [user message, assistant message]}, which train.py fine-tunes on
 *   sampling        {id: {prompt: messages, responses: [text]}}, infer.py → rewarding.py
 *   rewarding       {id: {prompt, response: [messages], score, ref_score, reward: [number]}},
 *                   written by rewarding.py, once for each of two models
 *   dpo             {id: {prompt, selected: messages, rejected: messages, consistency: number |
 *                   null}}, cal_consistency.py → train.py
 *
 * `response`, `selected` and `rejected` are whole conversations that begin with the prompt. In a
 * rewarding file of a model with a reference, `score` and `ref_score` are summed log-probs and
 * `reward` their difference; without one `score` is the mean log-prob per token and `ref_score` 0.
 * Lists are as long as the longest, padded with null. A `consistency` of null means the set's mean.
 */
import { stat } from 'node:fs/promises';
import { sampleKey } from './group.js';
import { objectEntries } from './json-list.js';
import { BLANK, DataError, describe, isMessages, isObject, readDataFile } from './jsonl.js';
import { beginsWith } from './messages.js';
import type { Row } from './rows.js';
import type {
  CompletionRecord,
  DemonstrationRecord,
  Message,
  PairRecord,
  PromptRecord,
  ScoreRecord,
} from './records.js';

export type OfficialKind = 'prompts' | 'demonstrations' | 'sampling' | 'rewarding' | 'dpo';

export interface OfficialFile {
  kind: OfficialKind;
  /** `where` names file and key. */
  rows: { id: string; where: string; value: unknown }[];
}

/** One response as text, not tokenised yet. */
export interface SampledText {
  prompt_id: string;
  sample: number;
  prompt: Message[];
  completion: string;
}

/** A row of a scores file, as the external reward reads it. */
export interface RewardRow {
  prompt_id: string;
  sample: number;
  completion: string;
  reward: number;
  reward_previous?: number;
}

/**
 * Reads a file of the official code; returns null for any other file (another format, or not JSON).
 * @throws DataError for a file with mixed or unknown rows
 */
export async function readOfficial(path: string): Promise<OfficialFile | null> {
  if (!/\.json$/i.test(path) || path.startsWith('hub:')) return null;
  const info = await stat(path).catch(() => null);
  if (!info?.isFile() || info.size > 500 * 2 ** 20) return null;
  const bytes = await readDataFile(path, path);
  const from = bytes.findIndex((byte) => !BLANK.has(byte));
  if (bytes[from] !== 0x7b) return null;
  const entries = await objectEntries(bytes, from, path);
  if (entries === undefined) return null; // JSON Lines, or damaged: rows.ts reports it
  if (entries.length === 0 || entries.some(([, row]) => typeof row !== 'object' || row === null))
    return null;
  if (entries.some(([, row]) => holdsNaN(row))) refuseNaN(Buffer.from(bytes).toString(), path);
  const rows = entries.map(([id, row]) => ({
    id,
    where: `${path} key ${JSON.stringify(id)}`,
    value: row,
  }));
  const kind = kindOf(rows[0]!.value);
  if (kind === null) return null;
  const odd = rows.find((row) => kindOf(row.value) !== kind);
  if (odd)
    throw new DataError(
      `${odd.where}: this is not a row of a ${kind} file, as the ones before it are, but ` +
        `${describe(odd.value)}`,
    );
  return { kind, rows };
}

/** Python writes NaN into JSON. The text is searched for it, to name the line. */
function refuseNaN(text: string, path: string): void {
  const found = /[[:,]\s*(NaN|-?Infinity)\b/.exec(text);
  if (found)
    throw new DataError(
      `${path} line ${text.slice(0, found.index).split('\n').length}: it holds ` +
        `${found[1]}, which is not a number to rank by; score that completion again or remove it`,
    );
}

function holdsNaN(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isFinite(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsNaN);
}

function kindOf(row: unknown): OfficialKind | null {
  if (isMessages(row))
    return (row as Message[]).at(-1)!.role === 'assistant' ? 'demonstrations' : 'prompts';
  if (!isObject(row)) return null;
  if (Array.isArray(row['responses'])) return 'sampling';
  if (Array.isArray(row['response']) && Array.isArray(row['reward'])) return 'rewarding';
  return row['selected'] !== undefined && row['rejected'] !== undefined ? 'dpo' : null;
}

// ---- reading

/** The prompts of an official file that has one prompt per row. */
export function officialPrompts({ rows }: OfficialFile): PromptRecord[] {
  return rows.map(({ id, value }) => ({ id, prompt: plain(value as Message[]) }));
}

/** The demonstrations of an official file: each conversation's last message is the completion. */
export function officialDemonstrations({ rows }: OfficialFile): DemonstrationRecord[] {
  return rows.map(({ id, value }) => ({
    id,
    prompt: plain((value as Message[]).slice(0, -1)),
    completion: plain((value as Message[]).slice(-1)),
  }));
}

/** @throws DataError */
export function officialSamples({ rows }: OfficialFile): SampledText[] {
  return rows.flatMap(({ id, where, value }) => {
    const { prompt, responses } = value as { prompt: unknown; responses: unknown[] };
    const messages = messagesOf(prompt, 'prompt', where);
    return responses.map((completion, sample) => {
      if (typeof completion !== 'string')
        throw new DataError(
          `${where}: response ${sample} must be text, but is ${describe(completion)}`,
        );
      return { prompt_id: id, sample, prompt: messages, completion };
    });
  });
}

/**
 * The rewards of θ_t, and those of θ_{t−1} from a second file on the same responses. @throws
 * DataError
 */
export function officialRewards(current: OfficialFile, previous?: OfficialFile): RewardRow[] {
  const rows = rewardsOf(current);
  if (previous === undefined) return rows;
  const others = new Map(rewardsOf(previous).map((row) => [sampleKey(row), row]));
  const known = new Set(rows.map(({ prompt_id }) => prompt_id));
  const foreign = previous.rows.find(({ id }) => !known.has(id));
  if (foreign)
    throw new DataError(
      `${foreign.where}: the first file has no such prompt; the two files must be about ` +
        'the same responses',
    );
  return rows.map((row) => {
    const other = others.get(sampleKey(row));
    const where = `prompt ${JSON.stringify(row.prompt_id)}, response ${row.sample}`;
    if (other === undefined)
      throw new DataError(
        `${where}: the second file has no reward for it; the two files must be about the ` +
          'same responses',
      );
    if (other.completion !== row.completion)
      throw new DataError(
        `${where}: the two files have different texts (${describe(row.completion)} and ` +
          `${describe(other.completion)}); the scores belong to other responses`,
      );
    return { ...row, reward_previous: other.reward };
  });
}

function rewardsOf({ rows }: OfficialFile): RewardRow[] {
  return rows.flatMap(({ id, where, value }) => {
    const { prompt, response, reward } = value as {
      prompt: unknown;
      response: unknown[];
      reward: unknown[];
    };
    const messages = messagesOf(prompt, 'prompt', where);
    if (response.length !== reward.length)
      throw new DataError(
        `${where}: ${response.length} responses and ${reward.length} rewards; each ` +
          'response needs one',
      );
    return response.flatMap((conversation, sample) => {
      // Shorter lists are padded with null.
      if (conversation === null && reward[sample] === null) return [];
      const number = reward[sample];
      if (typeof number !== 'number' || !Number.isFinite(number))
        throw new DataError(
          `${where}: reward ${sample} must be a number, but is ${describe(number)}; score ` +
            'that completion again or remove it',
        );
      return [
        {
          prompt_id: id,
          sample,
          completion: answerOf(conversation, messages, `response ${sample}`, where)
            .map(({ content }) => content)
            .join('\n'),
          reward: number,
        },
      ];
    });
  });
}

/**
 * Rows for loadPreferences: prompt, chosen, rejected and, if known, consistency. @throws DataError
 */
export function officialPairs({ kind, rows }: OfficialFile): Row[] {
  if (kind !== 'dpo')
    throw new DataError(
      `${rows[0]!.where}: this is a ${kind} file of the official code and holds no pairs; ` +
        'give its dpo file (cal_consistency.py writes it)',
    );
  return rows.map(({ id, where, value }) => {
    const { prompt, selected, rejected, consistency } = value as Record<string, unknown>;
    const messages = messagesOf(prompt, 'prompt', where);
    const answers = {
      chosen: answerOf(selected, messages, 'selected', where),
      rejected: answerOf(rejected, messages, 'rejected', where),
    };
    return {
      where,
      value: {
        id,
        prompt: messages,
        ...answers,
        ...(consistency !== null && consistency !== undefined && { consistency }),
      },
    };
  });
}

function messagesOf(value: unknown, column: string, where: string): Message[] {
  if (!isMessages(value))
    throw new DataError(
      `${where}: "${column}" must be a list of messages, but is ${describe(value)}`,
    );
  return plain(value as Message[]);
}

/** The part of a conversation after the prompt; a text is the answer itself. */
function answerOf(
  value: unknown,
  prompt: readonly Message[],
  column: string,
  where: string,
): Message[] {
  if (typeof value === 'string') return [{ role: 'assistant', content: value }];
  const messages = messagesOf(value, column, where);
  if (!beginsWith(messages, prompt))
    throw new DataError(
      `${where}: "${column}" does not begin with the row's own prompt but with ` +
        `${describe(messages[0])}; it belongs to another prompt`,
    );
  return messages.slice(prompt.length);
}

const plain = (messages: readonly Message[]): Message[] =>
  messages.map(({ role, content }) => ({ role, content }));

// ---- writing: [id, row] in order

export type Entries = [string, unknown][];

/**
 * A file of the official code as text, one id per line. Ids keep their order, while a JavaScript
 * object would sort those that look like numbers.
 */
export function officialText(entries: Entries): string {
  const lines = entries.map(([id, row]) => `${JSON.stringify(id)}: ${JSON.stringify(row)}`);
  return `{\n${lines.join(',\n')}\n}\n`;
}

export const toOfficialPrompts = (prompts: readonly PromptRecord[]): Entries =>
  prompts.map(({ id, prompt }) => [id, plain(prompt)]);

/**
 * @throws DataError if a demonstration has more than one question and one answer, because train.py
 * reads only these
 */
export const toOfficialDemonstrations = (demonstrations: readonly DemonstrationRecord[]): Entries =>
  demonstrations.map(({ id, prompt, completion }) => [
    id,
    twoTurns(id, [...prompt, ...completion]),
  ]);

/** The sampling file of an iteration: by prompt, its messages and its completions. */
export function toOfficialSampling(completions: readonly CompletionRecord[]): Entries {
  return bySample(completions).map(([id, samples]) => [
    id,
    { prompt: plain(samples[0]!.prompt), responses: samples.map(({ completion }) => completion) },
  ]);
}

/**
 * The rewarding file of θ_t (`current`) or θ_{t−1} (`previous`). @throws DataError unless scores
 * and completions have the same samples
 */
export function toOfficialRewarding(
  scores: readonly ScoreRecord[],
  completions: readonly CompletionRecord[],
  role: 'current' | 'previous',
): Entries {
  const scored = new Map(scores.map((score) => [sampleKey(score), score]));
  const texts = bySample(completions);
  const ids = new Set(texts.map(([id]) => id));
  const foreign = scores.find(({ prompt_id }) => !ids.has(prompt_id));
  if (foreign)
    throw new DataError(
      `prompt ${JSON.stringify(foreign.prompt_id)} has scores and no completions; the two ` +
        'files must be about the same samples',
    );
  const logp = role === 'current' ? 'logp_current' : 'logp_previous';
  // The base model has no reference, so the official code ranks by the mean log-prob.
  const alone = scores.every((score) => score[logp] === score.logp_base);
  return texts.map(([id, samples]) => {
    const found = samples.map((one) => scored.get(sampleKey(one)) ?? missing(id, one.sample));
    const score = found.map((s) => (alone ? s[logp] / Math.max(1, s.tokens) : s[logp]));
    const reference = found.map((s) => (alone ? 0 : s.logp_base));
    const response = samples.map(({ prompt, completion }) => [
      ...plain(prompt),
      { role: 'assistant', content: completion },
    ]);
    return [
      id,
      {
        prompt: plain(samples[0]!.prompt),
        response,
        score,
        ref_score: reference,
        reward: score.map((value, i) => value - reference[i]!),
      },
    ];
  });
}

function missing(id: string, sample: number): never {
  throw new DataError(
    `prompt ${JSON.stringify(id)}: sample ${sample} has no scores; the two files must be ` +
      'about the same samples',
  );
}

/** @throws DataError like toOfficialDemonstrations */
export function toOfficialDpo(
  pairs: readonly (Pick<PairRecord, 'prompt' | 'chosen' | 'rejected'> & {
    id: string;
    consistency?: number;
  })[],
): Entries {
  return pairs.map(({ id, prompt, chosen, rejected, consistency }) => [
    id,
    {
      prompt: plain(prompt),
      selected: twoTurns(id, [...prompt, ...chosen]),
      rejected: twoTurns(id, [...prompt, ...rejected]),
      consistency: consistency ?? null,
    },
  ]);
}

function twoTurns(id: string, messages: readonly Message[]): Message[] {
  if (messages.length === 2 && messages[0]!.role === 'user' && messages[1]!.role === 'assistant')
    return plain(messages);
  throw new DataError(
    `${JSON.stringify(id)} has the turns ${messages.map(({ role }) => role).join(', ')}; ` +
      'the official code trains on one user turn and one answer',
  );
}

/**
 * Completions by prompt, with samples 0, 1, … in order, because the position of a response in the
 * official files is its number.
 */
function bySample(completions: readonly CompletionRecord[]): [string, CompletionRecord[]][] {
  const groups = new Map<string, CompletionRecord[]>();
  for (const completion of completions)
    groups.set(completion.prompt_id, [...(groups.get(completion.prompt_id) ?? []), completion]);
  for (const [id, group] of groups) {
    group.sort((a, b) => a.sample - b.sample);
    const gap = group.findIndex(({ sample }, i) => sample !== i);
    if (gap !== -1)
      throw new DataError(
        `prompt ${JSON.stringify(id)}: sample ${gap} is missing or stands twice; samples ` +
          'must be numbered from 0',
      );
  }
  return [...groups];
}
