/**
 * Ranking accuracy on given preference pairs: how well an iteration's reward agrees with known
 * preferences. Used by `cream rank-eval`, and by a run with `rank_eval.source` before each
 * training.
 */
import { existsSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { sampleKey } from '../data/group.js';
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { CompletionRecord, RankedPairRecord, RewardRecord } from '../data/records.js';
import { rankingAccuracy, type RankingAccuracy, type Share } from '../evaluate/ranking.js';
import type { Model } from '../engine/model.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { judge, judgeRewards } from '../reward/judge.js';
import { modelRewards } from '../reward/model.js';
import { rewardSet } from '../reward/reward.js';
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
  /** What is known of the same pairs from other rewards. */
  scored?: ScoredPairs;
}

/** Pairs that are rated several times: tokenised once by a policy, scored once by a model. */
export class ScoredPairs {
  private of: { preferences: readonly PreferenceRecord[]; policy: LanguageModel } | undefined;
  private encoded: readonly Scorable[][] = [];
  private known: KnownSums = new WeakMap();

  /** Log-probs of the pairs that were encoded last, by model. */
  get sums(): KnownSums {
    return this.known;
  }

  /** Both sides of each pair as tokens of `policy`. Log-probs of other tokens are forgotten. */
  async encode(
    preferences: readonly PreferenceRecord[],
    policy: LanguageModel,
    signal: AbortSignal,
  ): Promise<readonly Scorable[][]> {
    if (this.of?.preferences === preferences && this.of.policy === policy) return this.encoded;
    const encoded = await encodeBothSides(preferences, policy, signal);
    if (!isDeepStrictEqual(encoded, this.encoded)) this.known = new WeakMap();
    this.of = { preferences, policy };
    this.encoded = encoded;
    return encoded;
  }
}

/**
 * Rewards of both completions of each preference under `reward`. Pairs without a readable judgement
 * are left out. @throws RunError for rewards that are not computed by a model
 */
export async function ratePreferences(
  preferences: readonly PreferenceRecord[],
  rankers: Rankers,
  settings: RankingSettings,
  hooks: WorkHooks,
): Promise<RankedPairRecord[]> {
  const scored = rankers.scored ?? new ScoredPairs();
  const encoded = await scored.encode(preferences, rankers.policy, hooks.signal);
  const known = { ...rankers, sums: scored.sums };
  const rewards = new Map(
    (await rewardsOf(preferences, encoded, known, settings, hooks)).map((record) => [
      sampleKey(record),
      record.reward_current,
    ]),
  );
  return preferences.flatMap(({ id }, i) => {
    const [chosen, rejected] = encoded[i]!;
    const [reward_chosen, reward_rejected] = [0, 1].map((sample) =>
      rewards.get(sampleKey({ prompt_id: id, sample })),
    );
    if (reward_chosen === undefined || reward_rejected === undefined) return [];
    return [
      {
        id,
        chosen_tokens: chosen!.token_ids.length,
        rejected_tokens: rejected!.token_ids.length,
        reward_chosen,
        reward_rejected,
      },
    ];
  });
}

async function rewardsOf(
  preferences: readonly PreferenceRecord[],
  encoded: readonly Scorable[][],
  { policy, base, rewardModel, sums }: Rankers & { sums: KnownSums },
  settings: RankingSettings,
  hooks: WorkHooks,
): Promise<RewardRecord[]> {
  const { reward, score, sample, seed } = settings;
  const { source, length } = reward;
  const { model } = policy;
  const scoring = { current: model, previous: base, base };
  const scores = () => scoreGroups(encoded, scoring, score, hooks, sums);
  switch (source) {
    case 'implicit':
    case 'likelihood':
      return rewardSet(await scores(), { source, length });
    case 'judge':
    case 'judge_implicit': {
      const judgements = await judge(
        asCompletions(preferences, encoded),
        policy,
        { current: model, previous: model },
        { ...reward, max_num_seqs: sample.max_num_seqs, seed, iteration: 0 },
        hooks,
      );
      if (source === 'judge') return judgeRewards(judgements).rewards;
      return rewardsFromJudgements(judgements, await scores(), reward).rewards;
    }
    case 'model': {
      const records = await modelRewards(
        asCompletions(preferences, encoded),
        classifier(rewardModel!),
        { label: reward.label, maxNumBatchedTokens: score.max_num_batched_tokens },
        { signal: hooks.signal },
      );
      return records.map(({ prompt_id, sample: number, reward: value }) => ({
        prompt_id,
        sample: number,
        reward_current: value,
        reward_previous: value,
      }));
    }
    default:
      throw new RunError(
        'ERR_RECIPE',
        `reward.source ${source} rates the completions of a run only; choose implicit, ` +
          'likelihood, judge or model to rate given pairs.',
      );
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
 * the recipe has none.
 */
export async function rankedPreferences(
  { seed, system_prompt, rank_eval: { count, ...pairs } }: RankedSource,
  policy?: LanguageModel,
): Promise<Loaded<PreferenceRecord> | undefined> {
  if (pairs.source === null) return undefined;
  const { records, ...rest } = await choosePreferences(
    { seed, system_prompt, pairs: { ...pairs, count: 0, on_bad_row: 'error' } },
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
  const { records: preferences } = (await rankedPreferences(recipe))!;
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
      for (const message of [unrated && `Iteration ${t}: ${unrated}`, belowChance(t, measured)])
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
 * A warning if the reward ranks fewer than half of the pairs right, also among pairs of equal
 * length. It is below chance only if the interval is, too.
 */
export function belowChance(t: number, { all, matched }: RankingAccuracy): string | undefined {
  const low = [
    { share: all, of: 'given pairs' },
    { share: matched, of: 'given pairs of about equal length' },
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
