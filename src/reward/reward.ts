/**
 * Turns scores into rewards. One formula applies to a whole set of completions and never varies by
 * prompt, because the ranks of a set must come from one source.
 *
 *   source       reward_current                                            reward_previous
 *   implicit     log π_θ − log π_θ0 of the policy (implicit.ts)            the same of θ_{t−1}
 *   likelihood   mean log-prob per token (likelihood.ts)                   the same of θ_{t−1}
 *   judge        points that the policy gives in words (judge.ts)          the points of θ_{t−1}
 *   judge_implicit  points and implicit reward together (combined.ts)      the same of θ_{t−1}
 *   model, file, gold, function
 *                rewards from outside the policy (external.ts)             by `against`; without
 *                                                                          it C is not measured
 */
import { sampleKey } from '../data/group.js';
import type { ExternalRewardRecord, RewardRecord, ScoreRecord } from '../data/records.js';
import { implicitReward } from './implicit.js';
import { lengthControlled, type LengthControl } from './length.js';
import { meanLogprob } from './likelihood.js';

/** Rewards that the policy itself gives; θ_t and θ_{t−1} each have their own. */
export const SELF_REWARDS = ['implicit', 'likelihood', 'judge', 'judge_implicit'] as const;
/** Those of them that need judgements. */
export const JUDGED_REWARDS = ['judge', 'judge_implicit'] as const;
/** Rewards from outside the policy, which do not depend on it. */
export const EXTERNAL_REWARDS = ['model', 'file', 'gold', 'function'] as const;
export const REWARD_SOURCES = [...SELF_REWARDS, ...EXTERNAL_REWARDS] as const;
export type RewardSource = (typeof REWARD_SOURCES)[number];
export type ExternalReward = (typeof EXTERNAL_REWARDS)[number];

export const isExternal = (source: RewardSource): source is ExternalReward =>
  (EXTERNAL_REWARDS as readonly string[]).includes(source);

/** A reward that is computed from log-probs. */
export interface ScoreReward {
  source: 'implicit' | 'likelihood';
  /**
   * How the length affects the reward (length.ts); default sum. `sum` and `mean` apply to the
   * implicit reward only: a likelihood is the mean in both.
   */
  length?: LengthControl;
}

/**
 * Whether θ_t and θ_{t−1} are the base model θ_0 itself, whose implicit reward would be 0 for every
 * completion.
 */
export interface BaseRoles {
  currentIsBase: boolean;
  previousIsBase: boolean;
}

/**
 * Infers the roles from the scores: a model that gives every completion the base model's log-prob
 * is the base model. Equal weights give equal bits, because θ_t, θ_{t−1} and θ_0 share storage
 * while they are equal.
 */
export function baseRoles(scores: readonly ScoreRecord[]): BaseRoles {
  return {
    currentIsBase: scores.every((s) => s.logp_current === s.logp_base),
    previousIsBase: scores.every((s) => s.logp_previous === s.logp_base),
  };
}

/**
 * Rewards in the order of `scores`.
 *
 * In iteration 1 after SFT, θ_{t−1} = θ_0, so the mean log-prob per token replaces its implicit
 * reward. In iteration 1 without SFT, θ_t = θ_0 as well: both rewards are that same number and
 * every C is 1, so that the iteration is plain self-rewarding DPO. With `length: controlled` both
 * models' rewards are the part of their summed log-ratios (or log-probs) that length does not
 * explain.
 * @throws RangeError naming the completion whose log-prob is not finite or whose length is not a
 *   positive integer.
 */
export function rewardSet(
  scores: readonly ScoreRecord[],
  { source, length = 'sum' }: ScoreReward = { source: 'implicit' },
  roles: BaseRoles = baseRoles(scores),
): RewardRecord[] {
  scores.forEach(checkScore);
  const by = (logpOf: (score: ScoreRecord) => number, isBase: boolean): number[] => {
    const isRatio = source === 'implicit' && !isBase;
    const sums = scores.map((s) => (isRatio ? implicitReward(logpOf(s), s.logp_base) : logpOf(s)));
    if (length === 'controlled')
      return lengthControlled(scores.map((s, i) => ({ ...s, reward: sums[i]! })));
    return isRatio && length === 'sum'
      ? sums
      : sums.map((sum, i) => meanLogprob(sum, scores[i]!.tokens));
  };
  const current = by((s) => s.logp_current, roles.currentIsBase);
  const previous = by((s) => s.logp_previous, roles.previousIsBase);
  return scores.map(({ prompt_id, sample }, i) => ({
    prompt_id,
    sample,
    reward_current: current[i]!,
    reward_previous: previous[i]!,
  }));
}

/** The second ranking, beside that of an external reward or of the policy's judgements. */
export interface Against extends ScoreReward {
  /** Whose reward it is. */
  by: 'previous' | 'current';
}

/**
 * Rewards from outside the policy, in the order of `external`. The previous reward, with which C is
 * measured, is that of θ_{t−1} or of θ_t by the formula `against`. Without the formula it is the
 * record's `reward_previous` or, where that is missing too, the reward itself (C is then
 * meaningless).
 * @throws RangeError naming a completion that `scores` lacks.
 */
export function externalSet(
  external: readonly ExternalRewardRecord[],
  scores: readonly ScoreRecord[],
  against: Against | undefined,
): RewardRecord[] {
  const own =
    against &&
    new Map(
      rewardSet(scores, against).map((record) => [
        sampleKey(record),
        against.by === 'current' ? record.reward_current : record.reward_previous,
      ]),
    );
  return external.map((record) => {
    const { prompt_id, sample, reward } = record;
    const previous = own ? own.get(sampleKey(record)) : (record.reward_previous ?? reward);
    if (previous === undefined)
      throw new RangeError(
        `[reward] sample ${sample} of prompt ${JSON.stringify(prompt_id)} has a reward but ` +
          'is missing from the scores; score it first',
      );
    return { prompt_id, sample, reward_current: reward, reward_previous: previous };
  });
}

function checkScore(s: ScoreRecord): void {
  const where = `[reward] sample ${s.sample} of prompt ${JSON.stringify(s.prompt_id)}`;
  for (const column of ['logp_current', 'logp_previous', 'logp_base'] as const) {
    if (!Number.isFinite(s[column])) {
      throw new RangeError(
        `${where} has ${column} = ${s[column]}, not a finite number; score it again (a ` +
          'model that diverged gives this: lower the learning rate)',
      );
    }
  }
  if (!Number.isInteger(s.tokens) || s.tokens < 1) {
    throw new RangeError(
      `${where} has tokens = ${s.tokens}; a completion has at least one token: score it again`,
    );
  }
}
