/**
 * Scores → rewards, completion by completion. Which formula applies is decided once for a whole set, never by prompt:
 * ranks of one set must come from one judge.
 */
import type { RewardRecord, ScoreRecord } from '../data/records.js';
import { implicitReward, meanLogprob } from './implicit.js';

/** Whether θ_t, θ_{t−1} are the base model θ_0 itself, so that their implicit reward would be 0 everywhere. */
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
 * Iteration 1 after SFT: θ_{t−1} = θ_0, so r_{t−1} is its length-mean log-prob. Iteration 1 without SFT: θ_t = θ_0 as well, both
 * sides are that one number, and every C is 1: the first step is plain self-rewarding DPO.
 * @throws RangeError naming the completion whose log-prob is not finite or whose length is not a positive integer.
 */
export function rewardSet(scores: readonly ScoreRecord[], roles: BaseRoles = baseRoles(scores)): RewardRecord[] {
  return scores.map((s) => {
    checkScore(s);
    const judge = (logp: number, isBase: boolean) => (isBase ? meanLogprob(logp, s.tokens) : implicitReward(logp, s.logp_base));
    return {
      prompt_id: s.prompt_id,
      sample: s.sample,
      reward_current: judge(s.logp_current, roles.currentIsBase),
      reward_previous: judge(s.logp_previous, roles.previousIsBase),
    };
  });
}

function checkScore(s: ScoreRecord): void {
  const where = `[reward] sample ${s.sample} of prompt ${JSON.stringify(s.prompt_id)}`;
  for (const column of ['logp_current', 'logp_previous', 'logp_base'] as const) {
    if (!Number.isFinite(s[column])) {
      throw new RangeError(`${where} has ${column} = ${s[column]}, not a finite number; score it again (a model that diverged gives this: lower the learning rate)`);
    }
  }
  if (!Number.isInteger(s.tokens) || s.tokens < 1) {
    throw new RangeError(`${where} has tokens = ${s.tokens}; a completion has at least one token: score it again`);
  }
}
