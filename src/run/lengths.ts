/**
 * Finds records that a model cannot read: longer than its context, or with its own control tokens
 * in their text.
 */
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { DemonstrationRecord, Message, PromptRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { controlTokensOf } from '../lm/control-tokens.js';
import { countCompletion, countPrompt } from '../lm/sliced.js';
import { Slices } from '../lm/slices.js';
import { encodePreference } from './encode-pairs.js';
import { RunError } from './errors.js';

/** A record's length in tokens, or a lower bound of it, and the maximum that fits. */
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
  return { tokens: await countPrompt(policy, prompt, limit, slices), limit };
};

export const demonstrationLength: LengthOf<DemonstrationRecord> = async (
  { prompt, completion },
  policy,
  slices,
) => {
  const limit = contextOf(policy);
  const text = completion.map(({ content }) => content).join('\n');
  const asked = await countPrompt(policy, prompt, limit, slices);
  return { tokens: asked + (await countCompletion(policy, text, limit, slices)), limit };
};

/** The length of the longer one of a pair's two sequences. */
export const preferenceLength: LengthOf<PreferenceRecord> = async (preference, policy, slices) => {
  const { prompt, chosen, rejected } = preference;
  const limit = contextOf(policy);
  const asked = await countPrompt(policy, prompt, limit, slices);
  const answers = [chosen, rejected];
  if (answers.every((turns) => turns.length === 1)) {
    const lengths = await Promise.all(
      answers.map(([turn]) => countCompletion(policy, turn!.content, limit, slices)),
    );
    return { tokens: asked + Math.max(...lengths), limit };
  }
  const encoded = await encodePreference(preference, policy, slices);
  return { tokens: asked + Math.max(encoded.chosen.length, encoded.rejected.length), limit };
};

interface LongRecord {
  id: string;
  tokens: number;
}

/** The records that do not fit. The event loop runs in between. */
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

interface TemplatedRecord {
  id: string;
  token: string;
}

type Spoken = Partial<Record<'prompt' | 'completion' | 'chosen' | 'rejected', readonly Message[]>>;

/**
 * The records whose text contains a control token of the model, so that the chat template would be
 * applied twice.
 */
export async function findTemplated(
  records: readonly (Spoken & { id: string })[],
  policy: LanguageModel,
): Promise<TemplatedRecord[]> {
  const tokens = controlTokensOf(policy);
  const slices = new Slices();
  const found: TemplatedRecord[] = [];
  for (const { id, prompt = [], completion = [], chosen = [], rejected = [] } of records) {
    const texts = [...prompt, ...completion, ...chosen, ...rejected].map(({ content }) => content);
    const token = tokens.find((control) => texts.some((text) => text.includes(control)));
    if (token !== undefined) found.push({ id, token });
    // Looking for some tokens takes a fraction of the time of tokenising.
    await slices.after(10 + texts.reduce((sum, text) => sum + text.length, 0) / 10);
  }
  return found;
}

/** `loaded` without the records that the model cannot read, which are added to those left out. */
export async function withoutUnusable<T extends Spoken & { id: string }>(
  loaded: Loaded<T>,
  policy: LanguageModel,
  lengthOf: LengthOf<T>,
  what: string,
  source: string,
): Promise<Loaded<T>> {
  const unusable = new Map<string, string>();
  for (const { id, token } of await findTemplated(loaded.records, policy))
    unusable.set(id, `the ${what} holds the model's control token ${JSON.stringify(token)}`);
  const others = loaded.records.filter(({ id }) => !unusable.has(id));
  for (const { id, tokens } of await findLong(others, policy, lengthOf))
    unusable.set(
      id,
      `the ${what} is at least ${tokens} tokens long and the model's context holds ` +
        contextOf(policy),
    );
  if (unusable.size === 0) return loaded;
  const reasons = [...unusable].map(([id, why]) => ({
    reason: `${loaded.places?.get(id) ?? JSON.stringify(id)}: ${why}`,
  }));
  if (unusable.size === loaded.records.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source} has no row that can be used: ${reasons[0]!.reason}` +
        `${unusable.size > 1 ? `, and ${unusable.size - 1} more like it` : ''}.`,
    );
  return {
    ...loaded,
    records: loaded.records.filter(({ id }) => !unusable.has(id)),
    skipped: [...loaded.skipped, ...reasons],
  };
}
