/**
 * The C that multiplies each pair's loss, L = C · L_DPO + (1 − C) · L_reverse-DPO (CREAM, arXiv
 * 2410.12735):
 *
 *   avg C = mean of C_x over the pairs that are trained on: the paper's main setting (less noise
 *   than N = 5 ranks of one prompt)
 *   dyn    C_x, each prompt's own
 *   fixed one number for all: 1 is SRLM (plain self-rewarding), another value is CREAM without
 *   consistency (label smoothing 1 − C)
 */
export const WEIGHTINGS = ['avg', 'dyn', 'fixed'] as const;

export type Weighting = { method: 'avg' } | { method: 'dyn' } | { method: 'fixed'; value: number };

/** One weight in [0, 1] for each of `consistencies`, in its order; [] for []. */
export function lossWeights(consistencies: readonly number[], weighting: Weighting): number[] {
  switch (weighting.method) {
    case 'avg': {
      const mean = average(consistencies);
      return consistencies.map(() => mean);
    }
    case 'dyn':
      return [...consistencies];
    case 'fixed':
      if (!(weighting.value >= 0 && weighting.value <= 1)) {
        throw new RangeError(
          `[prefer] the fixed weight is ${weighting.value}; C lies between 0 and 1`,
        );
      }
      return consistencies.map(() => weighting.value);
  }
}

/** Mean, 0 for none; one value gives itself exactly. */
export function average(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
