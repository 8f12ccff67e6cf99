/** Records that are longer than the model's context. */
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { DemonstrationRecord, Message, PromptRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { Slices } from '../lm/slices.js';
import { encodePreference } from './encode-pairs.js';
import { RunError } from './errors.js';
import { encodeDemonstration } from './stages/sft.js';

/** A record's length in tokens, the most that fits, and its size in characters. */
export interface Length {
  tokens: number;
  limit: number;
}

export type LengthOf<T> = (record: T, policy: LanguageModel) => Length;

const contextOf = (policy: LanguageModel): number => policy.model.config.maxPositionEmbeddings;

/** At least one generated token must fit after the prompt. */
export const promptLength: LengthOf<Pick<PromptRecord, 'prompt'>> = ({ prompt }, policy) => ({
  tokens: policy.encodePrompt(prompt).length,
  limit: contextOf(policy) - 1,
});

export const demonstrationLength: LengthOf<DemonstrationRecord> = (demonstration, policy) => {
  const { prompt, completion } = encodeDemonstration(demonstration, policy);
  return { tokens: prompt.length + completion.length, limit: contextOf(policy) };
};

/** Of the longer of a pair's two sequences. */
export const preferenceLength: LengthOf<PreferenceRecord> = (preference, policy) => {
  const { prompt, chosen, rejected } = encodePreference(preference, policy);
  return {
    tokens: prompt.length + Math.max(chosen.length, rejected.length),
    limit: contextOf(policy),
  };
};

interface LongRecord {
  id: string;
  tokens: number;
}

/** The records that do not fit. The event loop gets its turns meanwhile. */
export async function findLong<T extends { id: string }>(
  records: readonly T[],
  policy: LanguageModel,
  lengthOf: LengthOf<T>,
): Promise<LongRecord[]> {
  const slices = new Slices();
  const long: LongRecord[] = [];
  for (const record of records) {
    const { tokens, limit } = lengthOf(record, policy);
    if (tokens > limit) long.push({ id: record.id, tokens });
    await slices.after(characters(record));
  }
  return long;
}

/** `loaded` without the records that do not fit, which are added to those left out. */
export async function withoutLong<T extends { id: string }>(
  loaded: Loaded<T>,
  policy: LanguageModel,
  lengthOf: LengthOf<T>,
  what: string,
  source: string,
): Promise<Loaded<T>> {
  const long = new Map(
    (await findLong(loaded.records, policy, lengthOf)).map((record) => [record.id, record.tokens]),
  );
  if (long.size === 0) return loaded;
  const reasons = [...long].map(([id, tokens]) => ({
    reason:
      `${loaded.places?.get(id) ?? JSON.stringify(id)}: the ${what} is ${tokens} tokens long and ` +
      `the model's context holds ${contextOf(policy)}`,
  }));
  if (long.size === loaded.records.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source} has no row that can be used: ${reasons[0]!.reason}` +
        `${long.size > 1 ? `, and ${long.size - 1} more like it` : ''}.`,
    );
  return {
    ...loaded,
    records: loaded.records.filter(({ id }) => !long.has(id)),
    skipped: [...loaded.skipped, ...reasons],
  };
}

function characters(record: object): number {
  return Object.values(record).reduce(
    (sum: number, value: unknown) =>
      sum +
      (Array.isArray(value)
        ? (value as Partial<Message>[]).reduce((n, turn) => n + (turn.content?.length ?? 0), 0)
        : 0),
    0,
  );
}
