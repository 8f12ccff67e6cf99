/** How far two results lie apart. */
import { expect } from '@jest/globals';

/**
 * max |a − b| over equally long arrays; NaN, which is within no limit, where any difference is NaN.
 */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}
