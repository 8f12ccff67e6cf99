/**
 * Two rewards of one model as one: their sum, each standardised within its prompt.
 *
 *   z(r, x, y) = (r(x, y) − r̄_x) / s_x,   s_x² = mean over the N completions of x of (r − r̄_x)²
 *
 * Points of a judge and nats of an implicit reward have no common unit. After standardising, a
 * completion one standard deviation above its prompt's mean counts 1 in either reward. A reward
 * that is equal for all completions of a prompt says nothing about them and counts 0. Where two
 * rewards contradict each other, their sum can be equal for several completions, which is a tie.
 */
import { average } from '../data/average.js';
import { groupBy, sampleKey } from '../data/group.js';
import type { RewardRecord } from '../data/records.js';
import { withTiesByPrompt } from '../data/ties.js';

/** Sums that are this close are equal but for rounding, in standard deviations. */
const EQUAL = 1e-9;

type Column = 'reward_current' | 'reward_previous';

/**
 * z(first) + z(second) under θ_t and under θ_{t−1}, for the completions of `first` in its order.
 * @throws RangeError naming a completion that `second` lacks.
 */
export function combinedRewards(
  first: readonly RewardRecord[],
  second: readonly RewardRecord[],
): RewardRecord[] {
  const others = joined(first, second);
  const sum = (column: Column) => {
    const a = standardised(first, column);
    const b = standardised(others, column);
    const sums = first.map((record) => a.get(sampleKey(record))! + b.get(sampleKey(record))!);
    return withTiesByPrompt(first, sums, () => EQUAL);
  };
  const [current, previous] = [sum('reward_current'), sum('reward_previous')];
  return first.map(({ prompt_id, sample }, i) => ({
    prompt_id,
    sample,
    reward_current: current[i]!,
    reward_previous: previous[i]!,
  }));
}

/**
 * The rewards of θ_t by `first` beside those of θ_t by `second`, which take the place of the
 * previous model's: C is then the agreement of two rewards of one model.
 * @throws RangeError naming a completion that `second` lacks.
 */
export function comparedRewards(
  first: readonly RewardRecord[],
  second: readonly RewardRecord[],
): RewardRecord[] {
  const others = joined(first, second);
  return first.map((record, i) => ({
    ...record,
    reward_previous: others[i]!.reward_current,
  }));
}

function joined(
  first: readonly RewardRecord[],
  second: readonly RewardRecord[],
): readonly RewardRecord[] {
  const found = new Map(second.map((record) => [sampleKey(record), record]));
  return first.map((record) => {
    const other = found.get(sampleKey(record));
    if (other === undefined)
      throw new RangeError(
        `[reward] sample ${record.sample} of prompt ${JSON.stringify(record.prompt_id)} has a ` +
          'judgement but is missing from the scores; score it first',
      );
    return other;
  });
}

function standardised(records: readonly RewardRecord[], column: Column): Map<string, number> {
  const z = new Map<string, number>();
  for (const group of groupBy(records, ({ prompt_id }) => prompt_id)) {
    const mean = average(group.map((record) => record[column]));
    const spread = Math.sqrt(average(group.map((record) => (record[column] - mean) ** 2)));
    const isConstant = group.every((record) => record[column] === group[0]![column]);
    for (const record of group)
      z.set(sampleKey(record), isConstant || spread === 0 ? 0 : (record[column] - mean) / spread);
  }
  return z;
}
