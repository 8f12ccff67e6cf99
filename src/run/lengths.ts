/** Records that are longer than the model's context. */
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { DemonstrationRecord, PromptRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { Slices } from '../lm/slices.js';
import { encodePreference } from './encode-pairs.js';
import { RunError } from './errors.js';

/** A record's length in tokens, or a lower bound of it, and the most that fits. */
export interface Length {
  tokens: number;
  limit: number;
}

export type LengthOf<T> = (record: T, policy: LanguageModel, slices: Slices) => Promise<Length>;

const contextOf = (policy: LanguageModel): number => policy.model.config.maxPositionEmbeddings;

/** At least one generated token must fit after the prompt. */
export const promptLength: LengthOf<Pick<PromptRecord, 'prompt'>> = async (
  { prompt },
  policy,
  slices,
) => {
  const limit = contextOf(policy) - 1;
  return { tokens: await policy.countPrompt(prompt, limit, slices), limit };
};

export const demonstrationLength: LengthOf<DemonstrationRecord> = async (
  { prompt, completion },
  policy,
  slices,
) => {
  const limit = contextOf(policy);
  const text = completion.map(({ content }) => content).join('\n');
  const asked = await policy.countPrompt(prompt, limit, slices);
  return { tokens: asked + (await policy.countCompletion(text, limit, slices)), limit };
};

/** Of the longer of a pair's two sequences. */
export const preferenceLength: LengthOf<PreferenceRecord> = async (preference, policy, slices) => {
  const { prompt, chosen, rejected } = preference;
  const limit = contextOf(policy);
  const asked = await policy.countPrompt(prompt, limit, slices);
  const answers = [chosen, rejected];
  if (answers.every((turns) => turns.length === 1)) {
    const lengths = await Promise.all(
      answers.map(([turn]) => policy.countCompletion(turn!.content, limit, slices)),
    );
    return { tokens: asked + Math.max(...lengths), limit };
  }
  const encoded = encodePreference(preference, policy);
  await slices.after(answers.flat().reduce((sum, { content }) => sum + content.length, 0));
  return { tokens: asked + Math.max(encoded.chosen.length, encoded.rejected.length), limit };
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
  signal?: AbortSignal,
): Promise<LongRecord[]> {
  const slices = new Slices(signal);
  const long: LongRecord[] = [];
  for (const record of records) {
    const { tokens, limit } = await lengthOf(record, policy, slices);
    if (tokens > limit) long.push({ id: record.id, tokens });
    await slices.after(100); // the template
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
      `${loaded.places?.get(id) ?? JSON.stringify(id)}: the ${what} is at least ${tokens} tokens ` +
      `long and the model's context holds ${contextOf(policy)}`,
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
