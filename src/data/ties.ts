/**
 * Rewards that are equal but for the rounding of float64. A sum or difference that would be 0 in
 * exact arithmetic can be 1e-16, and a ranking must not depend on that.
 */

import { groupBy } from './group.js';

/** The share of its terms by which a short sum can be wrong, with a wide margin. */
const ROUNDING = 1e-12;

/**
 * `values` with each made equal to the lowest one within `tolerance` below it. Values that are
 * further apart stay exactly as they are.
 */
export function withTies(values: readonly number[], tolerance: number): number[] {
  const tied = [...values];
  let lowest = -Infinity;
  for (const i of values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!)) {
    if (values[i]! - lowest <= tolerance) tied[i] = lowest;
    else lowest = values[i]!;
  }
  return tied;
}

/** The same within each prompt; `toleranceOf` gets the positions of a prompt's values. */
export function withTiesByPrompt(
  of: readonly { prompt_id: string }[],
  values: readonly number[],
  toleranceOf: (places: readonly number[]) => number,
): number[] {
  const tied = [...values];
  for (const places of groupBy([...values.keys()], (i) => of[i]!.prompt_id))
    withTies(
      places.map((i) => values[i]!),
      toleranceOf(places),
    ).forEach((value, k) => (tied[places[k]!] = value));
  return tied;
}

/** The difference that rounding can make in a sum of `terms`. */
export const roundingOf = (...terms: readonly number[]): number =>
  ROUNDING * Math.max(...terms.map(Math.abs));
