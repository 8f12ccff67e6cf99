/**
 * The weight C of each pair's loss, L = C · L_DPO + (1 − C) · L_reverse-DPO (CREAM, arXiv
 * 2410.12735):
 *
 *   avg       the mean of C_x over the pairs that are trained on: the paper's main setting (less
 *             noisy than the N = 5 ranks of one prompt)
 *   dyn       each prompt's own C_x
 *   permuted  the C_x of dyn, assigned to the pairs at random: a control for whether a prompt's own
 *             C says anything about its pair
 *   sign      1 if the mean of avg is at least ½, else 0: a control for whether the size of C says
 *             anything beyond the direction
 *   fixed     one number for all: 1 is SRLM (plain self-rewarding), any other value is CREAM
 *             without consistency (label smoothing of 1 − C)
 *
 * A floor, if given, raises smaller weights of `avg`, `dyn` and `permuted` to it. With a floor of ½
 * no pair trains the reversed preference.
 */
import { average } from '../data/average.js';
import { Draw } from '../data/draw.js';

export const WEIGHTINGS = ['avg', 'dyn', 'permuted', 'sign', 'fixed'] as const;

export type Weighting =
  | { method: 'avg' | 'dyn' | 'sign' }
  /** Seeds the permutation: equal keys give equal permutations. */
  | { method: 'permuted'; key: string }
  | { method: 'fixed'; value: number };

/**
 * One weight in [0, 1] per entry of `consistencies`, in the same order; those of `avg`, `dyn` and
 * `permuted` are at least `floor`. @throws RangeError for a fixed weight outside [0, 1].
 */
export function lossWeights(
  consistencies: readonly number[],
  weighting: Weighting,
  floor = 0,
): number[] {
  switch (weighting.method) {
    case 'avg': {
      const mean = Math.max(floor, average(consistencies));
      return consistencies.map(() => mean);
    }
    case 'dyn':
      return consistencies.map((consistency) => Math.max(floor, consistency));
    case 'permuted':
      return new Draw(`permuted ${weighting.key}`)
        .several(consistencies, consistencies.length)
        .map((consistency) => Math.max(floor, consistency));
    case 'sign': {
      const sign = average(consistencies) >= 0.5 ? 1 : 0;
      return consistencies.map(() => sign);
    }
    case 'fixed':
      if (!(weighting.value >= 0 && weighting.value <= 1)) {
        throw new RangeError(
          `[prefer] the fixed weight is ${weighting.value}; C lies between 0 and 1`,
        );
      }
      return consistencies.map(() => weighting.value);
  }
}
