/**
 * How far two models agree on the order of a prompt's completions (CREAM's consistency rate, arXiv
 * 2410.12735).
 *
 *   τ(J_t, J_{t−1}) = (concordant − discordant) / √(n₀ − n₁)√(n₀ − n₂)
 *                     n₀ = N(N−1)/2; n₁ and n₂ are the tied couples of each side
 *   C_x = (τ + 1) / 2 ∈ [0, 1]
 *                     0: reversed order, ½: unrelated, 1: same order
 *
 * τ is Kendall's τ-b (1945) of the rewards, as in scipy.stats.kendalltau, so a tie counts as a tie.
 * The official code (cal_consistency.py) takes τ of ordinal ranks, which break ties by list
 * position; without ties both are equal. Ablations: Spearman's ρ, rescaled the same way, and
 * TopOrder, which is 1 if both models agree on the best and on the worst completion, else 0. (The
 * official code compares the ranks of the first and last *listed* completion instead.)
 *
 * A model that gives all completions equal rewards has no order, and scipy returns NaN. Here τ is 1
 * if both sides are constant, because they agree, and 0 if one is, because there is no evidence
 * either way (so C = ½). `isUndefined` identifies these prompts, and prefer.ts counts them.
 */
import { averageRanks, firstBest, firstWorst } from './rank.js';

export const CONSISTENCY_METHODS = ['kendall', 'spearman', 'top_order'] as const;
export type ConsistencyMethod = (typeof CONSISTENCY_METHODS)[number];

/** One prompt's agreement by every method, and its C by the selected one. */
export interface Agreement {
  kendall_tau: number;
  spearman: number;
  top_order: number;
  consistency: number;
}

/**
 * Kendall's τ-b in [−1, 1]; NaN if a side is constant, contains NaN or has fewer than two
 * values. O(N²), which is fast enough for the few completions of a prompt.
 */
export function kendallTau(x: readonly number[], y: readonly number[]): number {
  checkLengths(x, y);
  if (x.some(Number.isNaN) || y.some(Number.isNaN)) return NaN;
  let balance = 0;
  let tiedX = 0;
  let tiedY = 0;
  for (let i = 0; i < x.length; i++) {
    for (let j = 0; j < i; j++) {
      const dx = order(x[i]!, x[j]!);
      const dy = order(y[i]!, y[j]!);
      balance += dx * dy;
      tiedX += dx === 0 ? 1 : 0;
      tiedY += dy === 0 ? 1 : 0;
    }
  }
  const couples = (x.length * (x.length - 1)) / 2;
  if (tiedX === couples || tiedY === couples) return NaN;
  return clip(balance / Math.sqrt((couples - tiedX) * (couples - tiedY)));
}

/** Spearman's ρ in [−1, 1], Pearson's correlation of the average ranks; NaN as for τ. */
export function spearman(x: readonly number[], y: readonly number[]): number {
  checkLengths(x, y);
  if (x.some(Number.isNaN) || y.some(Number.isNaN)) return NaN;
  const mean = (x.length + 1) / 2; // of any N average ranks
  const rx = averageRanks(x).map((r) => r - mean);
  const ry = averageRanks(y).map((r) => r - mean);
  return clip(dot(rx, ry) / Math.sqrt(dot(rx, rx) * dot(ry, ry)));
}

/** 1 if both sides agree on the best and on the worst completion, else 0. */
export function topOrder(x: readonly number[], y: readonly number[]): number {
  checkLengths(x, y);
  return firstBest(x) === firstBest(y) && firstWorst(x) === firstWorst(y) ? 1 : 0;
}

/** [−1, 1] → [0, 1]. */
export function rescale(correlation: number): number {
  return (correlation + 1) / 2;
}

/** Whether τ and ρ are undefined because a side is constant, as a single reward is. */
export function isUndefined(x: readonly number[], y: readonly number[]): boolean {
  return isConstant(x) || isConstant(y);
}

/**
 * All measures of a prompt's two reward lists, which have the same order of samples. Finite rewards
 * give finite measures.
 */
export function agreement(
  current: readonly number[],
  previous: readonly number[],
  method: ConsistencyMethod,
): Agreement {
  const fallback = isConstant(current) && isConstant(previous) ? 1 : 0;
  const defined = (value: number) => (Number.isNaN(value) ? fallback : value);
  const kendall_tau = defined(kendallTau(current, previous));
  const rho = defined(spearman(current, previous));
  const top_order = topOrder(current, previous);
  const consistency = { kendall: rescale(kendall_tau), spearman: rescale(rho), top_order }[method];
  return { kendall_tau, spearman: rho, top_order, consistency };
}

// Compares instead of subtracting, because the difference of two infinities is NaN.
const order = (a: number, b: number): number => (a > b ? 1 : a < b ? -1 : 0);
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);
// Rounding may exceed [−1, 1] by an ulp; NaN stays NaN.
const clip = (value: number): number => Math.max(-1, Math.min(1, value));
const isConstant = (x: readonly number[]): boolean => x.every((value) => value === x[0]);

function checkLengths(x: readonly number[], y: readonly number[]): void {
  if (x.length !== y.length)
    throw new RangeError(
      `[consistency] compares ${x.length} rewards with ${y.length}; give one of each model ` +
        'for every sample',
    );
}
