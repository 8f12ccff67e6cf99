/**
 * Ordinal ranks J of a prompt's N rewards, 1 is best (CREAM, arXiv 2410.12735).
 *
 * Equal rewards are ranked by sample id, lowest first, so that ranks do not depend on the order of
 * records in a file. Correlations do not use these ranks: they see the rewards, where a tie is a
 * tie (see consistency.ts). Nor do pairs and TopOrder: they take argmax and argmin, which are the
 * first of equals at both ends.
 */
import type { RewardRecord } from '../data/records.js';

/** One prompt's rewards; the arrays run parallel, ascending by sample id. */
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
 * Average ranks, 1 = lowest, as scipy's `rankdata`: equal values share the mean of the ranks they
 * span.
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
 * Gathers records by prompt id, prompts in order of first appearance, samples ascending. A record's
 * position in the file means nothing.
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
      throw new RangeError(`${where} is listed twice; scores must have one row a sample`);
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
