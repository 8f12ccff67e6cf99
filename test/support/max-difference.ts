/** Compares arrays of numbers. */
import { expect } from '@jest/globals';

/**
 * max |a − b| over two arrays of equal length; NaN where any difference is NaN, so that every limit
 * fails.
 */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}
