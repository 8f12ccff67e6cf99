/**
 * Ordinal ranks J of a prompt's N rewards; 1 is best (CREAM, arXiv 2410.12735).
 *
 * Equal rewards are ranked by sample number, lowest first, so that ranks do not depend on the order
 * of records in a file. Correlations use the rewards instead of these ranks, so that a tie counts
 * as a tie (see consistency.ts). Pairs and TopOrder use argmax and argmin, which take the first of
 * equal rewards at both ends.
 */
import type { RewardRecord } from '../data/records.js';

/** One prompt's rewards. The three arrays have one entry per sample, ascending by sample number. */
export interface PromptRewards {
  prompt_id: string;
  samples: number[];
  reward_current: number[];
  reward_previous: number[];
}

/** Ordinal ranks of `rewards`, 1 = highest; equal rewards keep their order. */
export function ordinalRanks(rewards: readonly number[]): number[] {
  const order = rewards.map((_, i) => i).sort((a, b) => rewards[b]! - rewards[a]! || a - b);
  const ranks = new Array<number>(rewards.length);
  order.forEach((index, position) => (ranks[index] = position + 1));
  return ranks;
}

/** Position of the highest reward, the first of equals; −1 for none. */
export function firstBest(rewards: readonly number[]): number {
  return rewards.indexOf(Math.max(...rewards));
}

/** Position of the lowest reward, the first of equals; −1 for none. */
export function firstWorst(rewards: readonly number[]): number {
  return rewards.indexOf(Math.min(...rewards));
}

/**
 * Average ranks, 1 = lowest, as in scipy's `rankdata`: equal values get the mean of their ranks.
 */
export function averageRanks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const ranks = new Array<number>(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let k = start; k < end; k++) ranks[order[k]!] = (start + 1 + end) / 2;
    start = end;
  }
  return ranks;
}

/**
 * Groups records by prompt id: prompts in order of first appearance, samples ascending. The order
 * of the records does not matter otherwise.
 * @throws RangeError for a sample listed twice or a reward that is not finite, naming prompt and
 *   sample.
 */
export function groupByPrompt(rewards: readonly RewardRecord[]): PromptRewards[] {
  const prompts = new Map<string, Map<number, RewardRecord>>();
  for (const record of rewards) {
    const where = `[prefer] sample ${record.sample} of prompt ${JSON.stringify(record.prompt_id)}`;
    for (const column of ['reward_current', 'reward_previous'] as const) {
      if (!Number.isFinite(record[column]))
        throw new RangeError(
          `${where} has ${column} = ${record[column]}, which cannot be ranked; score it again`,
        );
    }
    const samples = prompts.get(record.prompt_id) ?? new Map<number, RewardRecord>();
    if (samples.has(record.sample))
      throw new RangeError(`${where} is listed twice; scores must have one row per sample`);
    prompts.set(record.prompt_id, samples.set(record.sample, record));
  }
  return [...prompts].map(([prompt_id, bySample]) => {
    const records = [...bySample.values()].sort((a, b) => a.sample - b.sample);
    return {
      prompt_id,
      samples: records.map((r) => r.sample),
      reward_current: records.map((r) => r.reward_current),
      reward_previous: records.map((r) => r.reward_previous),
    };
  });
}
