/**
 * Ranking accuracy on given preference pairs: how well an iteration's reward agrees with known
 * preferences. Used by `cream rank-eval`, and by a run with `rank_eval.source` before each
 * training.
 */
import { existsSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { groupBy, sampleKey } from '../data/group.js';
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type {
  CompletionRecord,
  ExternalRewardRecord,
  JudgementRecord,
  RankedPairRecord,
  RewardRecord,
  ScoreRecord,
} from '../data/records.js';
import { rankingAccuracy, type RankingAccuracy, type Share } from '../evaluate/ranking.js';
import type { Model } from '../engine/model.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { judge } from '../reward/judge.js';
import { modelRewards } from '../reward/model.js';
import { rewardSet, type RewardSource } from '../reward/reward.js';
import type { RunContext } from './context.js';
import { RunError } from './errors.js';
import { shuffled } from './keys.js';
import { choosePreferences, encodeBothSides } from './stages/given-pairs.js';
import { score as scoreGroups, type KnownSums, type Scorable } from './stages/score.js';
import type { Recipe } from './recipe.js';
import { classifier, lendRewardModel } from './reward-model.js';
import { rewardsFromJudgements } from './stages/reward.js';

/** The settings on which the ranking of pairs depends. */
export type RankingSettings = Pick<Recipe, 'reward' | 'score' | 'sample' | 'seed'>;

/**
 * The models of a reward: θ with its tokenizer, θ_0, and the reward model of `reward.source:
 * model`.
 */
export interface Rankers {
  policy: LanguageModel;
  base: Model;
  rewardModel?: LanguageModel | undefined;
  /** What is known of the same pairs from other policies. */
  scored?: ScoredPairs;
}

/** Log-probs of pairs that several policies rate: a model scores the same tokens once. */
export class ScoredPairs {
  private encoded: readonly Scorable[][] = [];
  private known: KnownSums = new WeakMap();

  /** Those of `encoded`, by model. Log-probs of other tokens are forgotten. */
  of(encoded: readonly Scorable[][]): KnownSums {
    if (!isDeepStrictEqual(encoded, this.encoded)) this.known = new WeakMap();
    this.encoded = encoded;
    return this.known;
  }
}

/** What rewards are computed from, and the sources that need it. */
interface Evidence {
  scores: ScoreRecord;
  judgements: JudgementRecord;
  external: ExternalRewardRecord;
}
type Kind = keyof Evidence;
const NEEDS: Partial<Record<RewardSource, readonly Kind[]>> = {
  implicit: ['scores'],
  likelihood: ['scores'],
  judge: ['judgements'],
  judge_implicit: ['judgements', 'scores'],
  model: ['external'],
};

/** A pair with what the models say of it. Sample 0 is the chosen completion, 1 the rejected. */
export type MeasuredPair = Pick<RankedPairRecord, 'id' | 'chosen_tokens' | 'rejected_tokens'> & {
  [K in Kind]?: Evidence[K][];
};

/**
 * Rewards of both completions of each preference under `settings.reward`. Pairs without a readable
 * judgement are left out. @throws RunError for rewards that are not computed by a model
 */
export async function ratePreferences(
  preferences: readonly PreferenceRecord[],
  rankers: Rankers,
  settings: RankingSettings,
  hooks: WorkHooks,
): Promise<RankedPairRecord[]> {
  const sources = [settings.reward.source];
  const measured = await measurePairs(preferences, rankers, sources, settings, hooks);
  return rewardsOfPairs(measured, settings.reward);
}

/**
 * What the rewards of `sources` need of each preference, each thing once. @throws RunError for
 * rewards that are not computed by a model
 */
export async function measurePairs(
  preferences: readonly PreferenceRecord[],
  rankers: Rankers,
  sources: readonly RewardSource[],
  settings: RankingSettings,
  hooks: WorkHooks,
): Promise<MeasuredPair[]> {
  const kinds = [...new Set(sources.flatMap(needsOf))];
  const encoded = await encodeBothSides(preferences, rankers.policy, hooks.signal);
  const pairs = { encoded, completions: asCompletions(preferences, encoded) };
  const measured = preferences.map(({ id }, i): MeasuredPair => {
    const [chosen, rejected] = encoded[i]!.map(({ token_ids }) => token_ids.length);
    return { id, chosen_tokens: chosen!, rejected_tokens: rejected! };
  });
  let spent = 0;
  for (const [turn, kind] of kinds.entries()) {
    let now = 0;
    const records = await measure(kind, pairs, rankers, settings, {
      ...hooks,
      progress: (done, tokens) => {
        now = tokens;
        const all = pairs.completions.length;
        hooks.progress(Math.floor((turn * all + done) / kinds.length), spent + tokens);
      },
    });
    spent += now;
    const groups = groupBy<Evidence[Kind]>(records, ({ prompt_id }) => prompt_id);
    const byPair = new Map(groups.map((group) => [group[0]!.prompt_id, group]));
    for (const pair of measured) Object.assign(pair, { [kind]: byPair.get(pair.id) });
  }
  return measured;
}

function needsOf(source: RewardSource): readonly Kind[] {
  const needs = NEEDS[source];
  if (needs === undefined)
    throw new RunError(
      'ERR_RECIPE',
      `reward.source ${source} rates the completions of a run only; choose implicit, ` +
        'likelihood, judge or model to rate given pairs.',
    );
  return needs;
}

function measure(
  kind: Kind,
  { encoded, completions }: { encoded: readonly Scorable[][]; completions: CompletionRecord[] },
  { policy, base, rewardModel, scored = new ScoredPairs() }: Rankers,
  { reward, score, sample, seed }: RankingSettings,
  hooks: WorkHooks,
): Promise<Evidence[Kind][]> {
  const { model } = policy;
  switch (kind) {
    case 'scores': {
      const models = { current: model, previous: base, base };
      return scoreGroups(encoded, models, score, hooks, scored.of(encoded));
    }
    case 'judgements':
      return judge(
        completions,
        policy,
        { current: model, previous: model },
        { ...reward, max_num_seqs: sample.max_num_seqs, seed, iteration: 0 },
        hooks,
      );
    case 'external':
      return modelRewards(
        completions,
        classifier(rewardModel!),
        { label: reward.label, maxNumBatchedTokens: score.max_num_batched_tokens },
        { signal: hooks.signal },
      );
  }
}

/** The rewards of measured pairs. Pairs without a readable judgement are left out. */
export function rewardsOfPairs(
  measured: readonly MeasuredPair[],
  reward: Recipe['reward'],
): RankedPairRecord[] {
  const rewards = new Map(
    completionRewards(measured, reward).map((record) => [sampleKey(record), record.reward_current]),
  );
  return measured.flatMap(({ id, chosen_tokens, rejected_tokens }) => {
    const [reward_chosen, reward_rejected] = [0, 1].map((sample) =>
      rewards.get(sampleKey({ prompt_id: id, sample })),
    );
    if (reward_chosen === undefined || reward_rejected === undefined) return [];
    return [{ id, chosen_tokens, rejected_tokens, reward_chosen, reward_rejected }];
  });
}

function completionRewards(
  measured: readonly MeasuredPair[],
  { source, length }: Recipe['reward'],
): Pick<RewardRecord, 'prompt_id' | 'sample' | 'reward_current'>[] {
  const scores = measured.flatMap((pair) => pair.scores ?? []);
  const judgements = measured.flatMap((pair) => pair.judgements ?? []);
  switch (source) {
    case 'implicit':
    case 'likelihood':
      return rewardSet(scores, { source, length });
    case 'judge':
    case 'judge_implicit':
      return rewardsFromJudgements(judgements, scores, { source, length, against: 'none' }).rewards;
    default:
      return measured
        .flatMap((pair) => pair.external ?? [])
        .map((record) => ({ ...record, reward_current: record.reward }));
  }
}

/** Both answers as completions: sample 0 is the chosen one. */
function asCompletions(
  preferences: readonly PreferenceRecord[],
  encoded: readonly Scorable[][],
): CompletionRecord[] {
  return preferences.flatMap((preference, i) =>
    encoded[i]!.map((side, sample) => ({
      ...side,
      prompt: preference.prompt,
      completion: preference[sample === 0 ? 'chosen' : 'rejected']
        .map(({ content }) => content)
        .join('\n\n'),
      logprob: 0,
      finish_reason: 'eos' as const,
    })),
  );
}

/** A warning about pairs that have no reward, because a judgement of them cannot be read. */
export function unratedPairs(rated: number, given: number): string | undefined {
  if (rated === given) return undefined;
  return (
    `${given - rated} of ${given} pairs have no readable judgement and are left out, so the ` +
    'figures are about fewer pairs.'
  );
}

/** The ranking accuracy of scored pairs; `tolerance` as in rankingAccuracy. */
export function accuracyOfPairs(
  records: readonly RankedPairRecord[],
  tolerance: number,
): RankingAccuracy {
  return rankingAccuracy(
    records.map((record) => ({
      chosen: { tokens: record.chosen_tokens, reward: record.reward_chosen },
      rejected: { tokens: record.rejected_tokens, reward: record.reward_rejected },
    })),
    tolerance,
  );
}

/**
 * The pairs of `rank_eval`, at most `count` of them in the order given by the seed; undefined if
 * the recipe has none. Rows that are too long are left out as in `readPrompts`.
 */
export async function rankedPreferences(
  { seed, system_prompt, rank_eval: { count, ...pairs } }: RankedSource,
  policy?: LanguageModel,
): Promise<Loaded<PreferenceRecord> | undefined> {
  if (pairs.source === null) return undefined;
  const { records, ...rest } = await choosePreferences(
    { seed, system_prompt, pairs: { ...pairs, count: 0 } },
    policy,
  );
  const order = shuffled(records, ({ id }) => id, seed, 'pairs');
  return { records: count === 0 ? records : order.slice(0, count), ...rest };
}

type RankedSource = Pick<Recipe, 'seed' | 'system_prompt' | 'rank_eval'>;

/** Rates the recipe's pairs with θ_t before iteration t trains, and warns below chance. */
export async function checkRanking(run: RunContext, t: number): Promise<void> {
  const { recipe } = run;
  if (recipe.rank_eval.source === null || existsSync(run.file(t, 'rank-eval.jsonl'))) return;
  const { records: preferences } = (await run.inputs.rated())!;
  await lendRewardModel(recipe, run.signal, (rewardModel) =>
    rateInRun(run, t, preferences, rewardModel),
  );
}

async function rateInRun(
  run: RunContext,
  t: number,
  preferences: readonly PreferenceRecord[],
  rewardModel: LanguageModel | undefined,
): Promise<void> {
  const { recipe } = run;
  const rankers = {
    policy: await run.models.policy(run.checkpoint(t)),
    base: await run.models.model(run.checkpoint(0)),
    rewardModel,
  };
  await run.stage(
    { phase: t, stage: 'reward' },
    { done: 0, total: 2 * preferences.length, unit: 'completions' },
    async (hooks) => {
      const records = await ratePreferences(preferences, rankers, recipe, hooks);
      await run.write(t, 'rank-eval.jsonl', records);
      const measured = accuracyOfPairs(records, recipe.rank_eval.length_tolerance);
      const unrated = unratedPairs(records.length, preferences.length);
      for (const message of [unrated && `Iteration ${t}: ${unrated}`, rankingWarning(t, measured)])
        if (message !== undefined) run.emit({ type: 'warning', message });
      return {
        result: undefined,
        note:
          `ranks ${shown(measured.all)} of the given pairs right, ${shown(measured.matched)} of ` +
          `equal length`,
      };
    },
  );
}

/**
 * A warning if only length makes the reward better than chance, as far as the pairs can tell, or if
 * it ranks fewer than half of the pairs right, also of equal length or balanced by length. It is
 * below chance only if the interval is, too.
 */
export function rankingWarning(t: number, measured: RankingAccuracy): string | undefined {
  const { all, matched, balanced } = measured;
  if (all.low > 0.5 && balanced.accuracy !== null && balanced.low <= 0.5)
    return (
      `Iteration ${t}: the reward that this iteration follows ranks ${shown(all)} of ` +
      `${all.pairs} given pairs right, but ${shown(balanced)} balanced by length, which is no ` +
      'better than chance (50 %). It may follow length alone: compare other rewards with ' +
      '`cream rank-eval`.'
    );
  const low = [
    { share: all, of: 'given pairs' },
    { share: matched, of: 'given pairs of about equal length' },
    { share: balanced, of: 'given pairs, balanced by length,' },
  ].filter(({ share }) => share.accuracy !== null && share.accuracy < 0.5);
  if (low.length === 0) return undefined;
  const figures = low.map(({ share, of }) => `${shown(share)} of ${share.pairs} ${of}`);
  const certain = low.some(({ share }) => share.high < 0.5);
  return (
    `Iteration ${t}: the reward that this iteration follows ranks ${figures.join(' and ')} ` +
    `right, which is ${certain ? 'below' : 'no better than'} chance (50 %). Training on it may ` +
    'make the model worse: compare other rewards with `cream rank-eval`.'
  );
}

const percent = (value: number): string => (value * 100).toFixed(1);
export const shown = ({ accuracy, low, high }: Share): string =>
  accuracy === null ? 'none' : `${percent(accuracy)} % (${percent(low)} – ${percent(high)})`;
