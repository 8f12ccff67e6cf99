/**
 * Given preference pairs (`pairs.source`) instead of sampling and ranking: their completions are
 * scored by θ_t, which is the reference, and by θ_0.
 */
import { existsSync } from 'node:fs';
import { sampleKey } from '../../data/group.js';
import { loadPreferences, type PreferenceRecord } from '../../data/preferences.js';
import type { Loaded } from '../../data/prompts.js';
import type { PairRecord, ScoreRecord } from '../../data/records.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { mapInSlices, type Slices } from '../../lm/slices.js';
import type { RunContext, WorkContext } from '../context.js';
import { withSystem } from '../data.js';
import { encodePreference } from '../encode-pairs.js';
import { RunError } from '../errors.js';
import { shuffled } from '../keys.js';
import { preferenceLength, withoutUnusable } from '../lengths.js';
import type { Recipe } from '../recipe.js';
import { weightWarning } from '../warnings.js';
import { score, type ScoringModels, type Scorable, type ScoreSettings } from './score.js';
import type { BlockedStage } from './stage.js';

/**
 * The preferences that the recipe names, in the order of its seed if it takes a part of them. Rows
 * that are too long are left out as in `readPrompts`.
 */
export async function choosePreferences(
  {
    seed,
    system_prompt: system,
    pairs: { source, columns, count, on_bad_row: onBadRow },
  }: Pick<Recipe, 'seed' | 'system_prompt' | 'pairs'>,
  policy?: LanguageModel,
): Promise<Loaded<PreferenceRecord>> {
  const loaded = await loadPreferences(source!, { columns, onBadRow });
  const complete = {
    ...loaded,
    records: loaded.records.map((record) => ({
      ...record,
      prompt: withSystem(record.prompt, system),
    })),
  };
  const { records, ...rest } =
    onBadRow === 'skip' && policy !== undefined
      ? await withoutUnusable(complete, policy, preferenceLength, 'pair', source!)
      : complete;
  if (count > records.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source} holds ${records.length} pairs and the recipe asks for ${count}: lower ` +
        'pairs.count, or set it to 0 for all.',
    );
  const chosen =
    count === 0 ? records : shuffled(records, ({ id }) => id, seed, 'pairs').slice(0, count);
  return { records: chosen, ...rest };
}

/** The pairs of iteration `t`: the recipe's preferences with log π under θ_t and θ_0. */
export async function scoreGivenPairs(run: RunContext, t: number): Promise<PairRecord[]> {
  const of = { phase: t, stage: 'score' } as const;
  const preferences = await preferencesOf(run, t);
  if (existsSync(run.file(t, 'pairs.jsonl'))) return run.kept(of, 'pairs.jsonl');
  const scores = await run.blocks(of, 'scores.jsonl', await givenScoringOf(run, t, preferences));
  const language = await run.models.policy(run.checkpoint(t));
  const pairs = await makeGivenPairs(preferences, scores, language, run.signal);
  const weights = weightWarning(pairs, 'given');
  if (weights !== undefined) run.warnOnce('weights', weights);
  await run.write(t, 'pairs.jsonl', pairs);
  return pairs;
}

/** The scoring of iteration `t`'s given pairs under θ_t and θ_0. */
export async function givenScoringOf(
  run: WorkContext,
  t: number,
  preferences: readonly PreferenceRecord[],
): Promise<BlockedStage<PreferenceRecord, ScoreRecord>> {
  const language = await run.models.policy(run.checkpoint(t));
  const models = async () => {
    const current = await run.models.model(run.checkpoint(t));
    return { current, previous: current, base: await run.models.model(run.checkpoint(0)) };
  };
  return {
    ...givenPairsStage(preferences, language, models, run.recipe.score),
    work: () => Promise.resolve({ stage: 'given pairs', t }),
  };
}

async function preferencesOf(run: RunContext, t: number): Promise<PreferenceRecord[]> {
  if (existsSync(run.file(t, 'preferences.jsonl'))) return run.read(t, 'preferences.jsonl');
  const { records } = await run.inputs.preferences();
  await run.record(t, 'preferences.jsonl', records);
  return records;
}

function givenPairsStage(
  preferences: readonly PreferenceRecord[],
  language: LanguageModel,
  models: () => Promise<ScoringModels>,
  settings: ScoreSettings,
): BlockedStage<PreferenceRecord, ScoreRecord> {
  return {
    items: preferences,
    size: settings.save_prompts,
    unit: 'completions',
    units: () => 2,
    make: async (block, hooks) =>
      scorePreferences(block, language, await models(), settings, hooks),
  };
}

/** Scores of both completions of each preference: sample 0 is the chosen one, 1 the rejected. */
export async function scorePreferences(
  preferences: readonly PreferenceRecord[],
  language: LanguageModel,
  models: ScoringModels,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: WorkHooks,
): Promise<ScoreRecord[]> {
  return score(await encodeBothSides(preferences, language, hooks.signal), models, settings, hooks);
}

/** Both completions as token ids: sample 0 is the chosen one, 1 the rejected. */
export function encodeBothSides(
  preferences: readonly PreferenceRecord[],
  language: LanguageModel,
  signal: AbortSignal | undefined,
): Promise<Scorable[][]> {
  const encode = async (preference: PreferenceRecord, slices: Slices): Promise<Scorable[]> => {
    const ids = await encodePreference(preference, language, slices);
    return [ids.chosen, ids.rejected].map((token_ids, sample) => ({
      prompt_id: preference.id,
      sample,
      prompt_token_ids: ids.prompt,
      token_ids,
    }));
  };
  return mapInSlices(preferences, encode, signal);
}

/**
 * Pairs with their reference log-probs. C is 1 unless the preference has its own; the reward is the
 * label.
 */
export function makeGivenPairs(
  preferences: readonly PreferenceRecord[],
  scores: readonly ScoreRecord[],
  language: LanguageModel,
  signal: AbortSignal | undefined,
): Promise<PairRecord[]> {
  const scoreOf = new Map(scores.map((record) => [sampleKey(record), record]));
  const make = async (preference: PreferenceRecord, slices: Slices): Promise<PairRecord> => {
    const ids = await encodePreference(preference, language, slices);
    const { id, prompt, chosen, rejected, consistency = 1 } = preference;
    const [better, worse] = [0, 1].map((sample) =>
      scoreOf.get(sampleKey({ prompt_id: id, sample }))!,
    ) as [ScoreRecord, ScoreRecord];
    return {
      prompt_id: id,
      prompt,
      chosen,
      rejected,
      chosen_sample: 0,
      rejected_sample: 1,
      prompt_token_ids: ids.prompt,
      chosen_token_ids: ids.chosen,
      rejected_token_ids: ids.rejected,
      ref_chosen_logps: better.logp_current,
      ref_rejected_logps: worse.logp_current,
      base_chosen_logps: better.logp_base,
      base_rejected_logps: worse.logp_base,
      reward_chosen: 1,
      reward_rejected: 0,
      consistency,
      weight: consistency,
    };
  };
  return mapInSlices(preferences, make, signal);
}
