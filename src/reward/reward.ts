/**
 * Scores → rewards, completion by completion. Which formula applies is decided once for a whole
 * set, never by prompt: ranks of one set must come from one judge.
 *
 *   source       judge                                                     r_{t−1}
 *   implicit     log π_θ − log π_θ0 of the policy (implicit.ts)            the same of θ_{t−1}
 *   likelihood   mean log-prob of a token (likelihood.ts)                  the same of θ_{t−1}
 *   judge        points that the policy gives in words (judge.ts)          points of θ_{t−1}
 *   model, file, gold, function one judge outside (external.ts) what `against` says, or none: C is
 *   then not measured
 */
import type { ExternalRewardRecord, RewardRecord, ScoreRecord } from '../data/records.js';
import { implicitReward } from './implicit.js';
import { meanLogprob } from './likelihood.js';

/** Rewards that depend on the model: θ_t and θ_{t−1} rank with their own. */
export const SELF_REWARDS = ['implicit', 'likelihood', 'judge'] as const;
/** Rewards of one judge outside, the same whatever the model. */
export const EXTERNAL_REWARDS = ['model', 'file', 'gold', 'function'] as const;
export const REWARD_SOURCES = [...SELF_REWARDS, ...EXTERNAL_REWARDS] as const;
export type RewardSource = (typeof REWARD_SOURCES)[number];

export const isExternal = (source: RewardSource): boolean =>
  (EXTERNAL_REWARDS as readonly string[]).includes(source);

/** A reward made of log-probs. */
export interface ScoreReward {
  source: 'implicit' | 'likelihood';
  /** Of the implicit reward: the sum over the completion's tokens, or its mean over them. */
  length?: 'sum' | 'mean';
}

/**
 * Whether θ_t, θ_{t−1} are the base model θ_0 itself, so that their implicit reward would be 0
 * everywhere.
 */
export interface BaseRoles {
  currentIsBase: boolean;
  previousIsBase: boolean;
}

/**
 * Read off the scores: a model that gives every completion the base's log-prob is the base.
 * (Equal weights give equal bits here: θ_t, θ_{t−1} and θ_0 share storage while they are equal.)
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
 * Iteration 1 after SFT: θ_{t−1} = θ_0, so its implicit reward is its length-mean log-prob.
 * Iteration 1 without SFT: θ_t = θ_0 as well, both sides are that one number, and every C is 1: the
 * first step is plain self-rewarding DPO.
 * @throws RangeError naming the completion whose log-prob is not finite or whose length is not a
 *   positive integer.
 */
export function rewardSet(
  scores: readonly ScoreRecord[],
  { source, length = 'sum' }: ScoreReward = { source: 'implicit' },
  roles: BaseRoles = baseRoles(scores),
): RewardRecord[] {
  return scores.map((s) => {
    checkScore(s);
    const judge = (logp: number, isBase: boolean) => {
      if (source === 'likelihood' || isBase) return meanLogprob(logp, s.tokens);
      return implicitReward(logp, s.logp_base) / (length === 'mean' ? s.tokens : 1);
    };
    return {
      prompt_id: s.prompt_id,
      sample: s.sample,
      reward_current: judge(s.logp_current, roles.currentIsBase),
      reward_previous: judge(s.logp_previous, roles.previousIsBase),
    };
  });
}

/**
 * Rewards of one judge outside, in the order of `external`. The other ranking, against which C is
 * measured, is θ_{t−1}'s own by the formula `against`; without one it is `reward_previous` where
 * the records have it, else the reward itself (C means nothing then).
 * @throws RangeError naming a completion that `scores` lacks.
 */
export function externalSet(
  external: readonly ExternalRewardRecord[],
  scores: readonly ScoreRecord[],
  against: ScoreReward | undefined,
): RewardRecord[] {
  const id = (record: { prompt_id: string; sample: number }) =>
    `${record.sample} ${record.prompt_id}`;
  const own =
    against &&
    new Map(rewardSet(scores, against).map((record) => [id(record), record.reward_previous]));
  return external.map((record) => {
    const { prompt_id, sample, reward } = record;
    const previous = own ? own.get(id(record)) : (record.reward_previous ?? reward);
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
