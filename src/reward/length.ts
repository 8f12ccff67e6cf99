/**
 * Removes the linear influence of length from rewards. A sum of log-ratios grows with the number of
 * tokens, so a ranking by it is in part a ranking by length.
 *
 *   mean         r / |y|
 *   controlled   r − b·|y|, where b is the least-squares slope of the reward on the length within
 *                prompts: b = Σ (r − r̄_x)(|y| − |ȳ|_x) / Σ (|y| − |ȳ|_x)², the sums being over
 *                all completions of all prompts x and the means over those of one prompt (a
 *                regression with a fixed effect per prompt)
 *
 * The slope is one number per model and set of completions. It is a nuisance parameter, not tuned,
 * and uses no preference labels.
 */
import { average } from '../data/average.js';
import { groupBy } from '../data/group.js';
import { roundingOf, withTiesByPrompt } from '../data/ties.js';

export const LENGTH_CONTROLS = ['sum', 'mean', 'controlled'] as const;
export type LengthControl = (typeof LENGTH_CONTROLS)[number];

/** A reward of a completion with its length in tokens. */
export interface LengthReward {
  prompt_id: string;
  tokens: number;
  reward: number;
}

/**
 * r − b·|y| for each of `rewards`, in order and unit. b is 0 if no prompt has two lengths. Where
 * length explains the whole difference of two rewards of a prompt, they are equal.
 */
export function lengthControlled(rewards: readonly LengthReward[]): number[] {
  const slope = lengthSlope(rewards);
  const values = rewards.map(({ reward, tokens }) => reward - slope * tokens);
  const terms = (i: number) => [rewards[i]!.reward, slope * rewards[i]!.tokens];
  return withTiesByPrompt(rewards, values, (places) => roundingOf(...places.flatMap(terms)));
}

/** The least-squares slope of reward on length within prompts, in nats per token. */
export function lengthSlope(rewards: readonly LengthReward[]): number {
  let covariance = 0;
  let variance = 0;
  for (const group of groupBy(rewards, ({ prompt_id }) => prompt_id)) {
    const meanReward = average(group.map(({ reward }) => reward));
    const meanLength = average(group.map(({ tokens }) => tokens));
    for (const { reward, tokens } of group) {
      covariance += (reward - meanReward) * (tokens - meanLength);
      variance += (tokens - meanLength) ** 2;
    }
  }
  return variance === 0 ? 0 : covariance / variance;
}
