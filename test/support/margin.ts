/** The first margin of training with θ_0 as reference. */
import { expect } from '@jest/globals';
import type { PairRecord } from '../../src/data/records.js';
import type { StepRecord } from '../../src/run/stages/objective.js';

/**
 * Expects the step's margin to be that of θ_t over θ_0, which the pairs' log-probs give, with β 0.1
 * and within the rounding of bf16.
 */
export function expectMarginAgainstBase(pairs: readonly PairRecord[], first: StepRecord): void {
  const margins = pairs.map(
    (p) =>
      0.1 *
      (p.ref_chosen_logps - p.base_chosen_logps! - p.ref_rejected_logps + p.base_rejected_logps!),
  );
  const margin = margins.reduce((sum, value) => sum + value, 0) / margins.length;
  expect(Math.abs(margin)).toBeGreaterThan(0.002);
  expect(Math.abs(first['rewards/margins']! - margin)).toBeLessThan(0.02);
}
