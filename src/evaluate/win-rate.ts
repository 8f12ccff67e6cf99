/**
 * The win rate of one model over another from a judge's preferences, also for answers of equal
 * length (Dubois et al. 2024, Length-Controlled AlpacaEval, arXiv 2404.04475, with its code).
 *
 *   raw          mean preference p for the second model, 0 … 1 per prompt
 *   controlled   σ(θ) of the logistic regression
 *                logit p = θ + φ·tanh(Δ / s),   Δ = length of the second answer − of the first,
 *                s the standard deviation of Δ over the prompts (n − 1); θ is the preference where
 *                Δ is 0
 *
 * AlpacaEval 2 has a third term, the difficulty of each instruction, which is fitted over the
 * answers of a hundred models to its own 805 instructions. Other prompts have no such difficulty,
 * so the term is left out. AlpacaEval's L1 penalty, chosen by cross-validation, draws θ towards 0,
 * that is the win rate towards ½. Here the penalty is ½·λ·(θ² + φ²) with λ = 1e-4, which only keeps
 * the fit finite if one model always wins.
 *
 * Intervals of 95 %: Wilson's for means; for θ the values whose profile log-likelihood, maximised
 * over φ, lies less than 1.92 below the maximum. Both are those of wins and losses. Preferences
 * between 0 and 1 vary less, so their intervals are wider than necessary; in return they have a
 * width where one model always wins.
 */
import { average } from '../data/average.js';
import { wilson, Z95 } from './intervals.js';

/** The judge's preference on one prompt, and the lengths of both answers in characters. */
export interface Preference {
  /** 0 … 1: for the second model, averaged over both positions. */
  preference: number;
  before_length: number;
  after_length: number;
}

export interface Rate {
  rate: number;
  low: number;
  high: number;
}

export interface WinRate {
  prompts: number;
  raw: Rate;
  /**
   * null if all second answers are longer, or all are shorter: length and model cannot be told
   * apart.
   */
  controlled: Rate | null;
  /**
   * Share of the prompts with answers of different length whose longer answer is preferred; a tie
   * counts half. null without such a prompt.
   */
  longer_preferred: Rate | null;
  /** Mean lengths in characters. */
  before_length: number;
  after_length: number;
}

const PENALTY = 1e-4;
/** Half of the 95 % point of χ² with one degree of freedom. */
const FALL = Z95 ** 2 / 2;

/** @throws RangeError without a preference. */
export function winRate(preferences: readonly Preference[]): WinRate {
  const n = preferences.length;
  if (n === 0) throw new RangeError('[win-rate] there is no preference to count');
  const p = preferences.map(({ preference }) => preference);
  const delta = preferences.map(({ before_length, after_length }) => after_length - before_length);
  const differing = preferences.filter((_, i) => delta[i] !== 0);
  return {
    prompts: n,
    raw: meanRate(p),
    controlled: controlledRate(p, delta),
    longer_preferred: differing.length === 0 ? null : meanRate(differing.map(longerPreferred)),
    before_length: average(preferences.map(({ before_length }) => before_length)),
    after_length: average(preferences.map(({ after_length }) => after_length)),
  };
}

/** The mean of values in 0 … 1, at least one, with its Wilson interval. */
export function meanRate(values: readonly number[]): Rate {
  const rate = average(values);
  return { rate, ...wilson(rate * values.length, values.length) };
}

function longerPreferred({ preference, before_length, after_length }: Preference): number {
  const second = (1 + Math.sign(preference - 0.5)) / 2;
  return after_length > before_length ? second : 1 - second;
}

/**
 * σ(θ) for preferences `p` and length differences `delta`. null where all of `delta` are above or
 * all below 0: the curve would be read far from the answers that it was fitted to.
 */
export function controlledRate(p: readonly number[], delta: readonly number[]): Rate | null {
  if (delta.every((d) => d > 0) || delta.every((d) => d < 0)) return null;
  const spread = deviation(delta);
  const x = delta.map((d) => (spread === 0 ? 0 : Math.tanh(d / spread)));
  const best = fitLogistic(p, x);
  const least = evaluate(p, x, best.theta, best.phi).loss;
  /** The farthest θ from the best one, in direction `sign`, that the data do not reject. */
  const end = (sign: number): number => {
    const rejected = (theta: number) => profile(p, x, theta, best.phi) - least > FALL;
    let [inside, outside] = [best.theta, best.theta + sign];
    while (!rejected(outside) && Math.abs(outside) < FAR)
      [inside, outside] = [outside, outside + 2 * (outside - best.theta)];
    for (let step = 0; step < 50; step++) {
      const middle = (inside + outside) / 2;
      if (rejected(middle)) outside = middle;
      else inside = middle;
    }
    return sigmoid(inside);
  };
  return { rate: sigmoid(best.theta), low: end(-1), high: end(1) };
}

/** Beyond it σ(θ) is 0 or 1. */
const FAR = 60;

/** The least loss at `theta` over φ, by Newton's method from `phi`. */
function profile(p: readonly number[], x: readonly number[], theta: number, phi: number): number {
  let at = evaluate(p, x, theta, phi);
  for (let step = 0; step < 100; step++) {
    let move = at.gradient[1] / at.curvature[2];
    if (Math.abs(move) < 1e-9) break;
    let next = evaluate(p, x, theta, at.phi - move);
    while (next.loss > at.loss && Math.abs(move) > 1e-9)
      next = evaluate(p, x, theta, at.phi - (move /= 2));
    if (next.loss >= at.loss) break;
    at = next;
  }
  return at.loss;
}

/**
 * θ and φ that minimise Σ −p·log σ(z) − (1 − p)·log σ(−z) + ½λ(θ² + φ²), z = θ + φ·x, by Newton's
 * method. The function is convex; a step that does not lower it is halved.
 */
export function fitLogistic(
  p: readonly number[],
  x: readonly number[],
): { theta: number; phi: number } {
  let at = evaluate(p, x, 0, 0);
  for (let step = 0; step < 100; step++) {
    const { theta, phi, gradient, curvature } = at;
    const determinant = curvature[0] * curvature[2] - curvature[1] ** 2;
    const d0 = (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant;
    const d1 = (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant;
    if (Math.abs(d0) + Math.abs(d1) < 1e-9) break;
    let rate = 1;
    let next = evaluate(p, x, theta - d0, phi - d1);
    while (next.loss > at.loss && rate > 1e-3)
      next = evaluate(p, x, theta - (rate /= 2) * d0, phi - rate * d1);
    // The loss no longer decreases, except by rounding.
    if (next.loss >= at.loss) break;
    at = next;
  }
  return { theta: at.theta, phi: at.phi };
}

/** The loss at (θ, φ) with its gradient and the three entries of its Hessian. */
function evaluate(p: readonly number[], x: readonly number[], theta: number, phi: number) {
  let loss = (PENALTY / 2) * (theta ** 2 + phi ** 2);
  const gradient: [number, number] = [PENALTY * theta, PENALTY * phi];
  const curvature: [number, number, number] = [PENALTY, 0, PENALTY];
  for (let i = 0; i < p.length; i++) {
    const z = theta + phi * x[i]!;
    const tail = Math.exp(-Math.abs(z));
    const s = z >= 0 ? 1 / (1 + tail) : tail / (1 + tail);
    loss += Math.max(z, 0) + Math.log1p(tail) - p[i]! * z;
    gradient[0] += s - p[i]!;
    gradient[1] += (s - p[i]!) * x[i]!;
    const width = s * (1 - s);
    curvature[0] += width;
    curvature[1] += width * x[i]!;
    curvature[2] += width * x[i]! ** 2;
  }
  return { theta, phi, loss, gradient, curvature };
}

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

/** The sample standard deviation; 0 of a single value. */
function deviation(values: readonly number[]): number {
  const middle = average(values);
  const sum = values.reduce((total, value) => total + (value - middle) ** 2, 0);
  return values.length < 2 ? 0 : Math.sqrt(sum / (values.length - 1));
}
