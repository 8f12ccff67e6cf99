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
 * Intervals: percentiles of the whole estimate over 2,000 bootstrap samples of the prompts, drawn
 * by their number alone; [0, 1] of a single prompt, which says nothing of others.
 */
import { average } from '../data/average.js';
import { Draw } from '../data/draw.js';
import { quantile } from './intervals.js';

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
  /** null if Δ is the same for all prompts and not 0: length and model cannot be told apart. */
  controlled: Rate | null;
  /**
   * Share of the prompts with answers of different length whose longer answer is preferred; a tie
   * counts half. null without such a prompt.
   */
  longer_preferred: number | null;
  /** Mean lengths in characters. */
  before_length: number;
  after_length: number;
}

const RESAMPLES = 2_000;
const PENALTY = 1e-4;

/** @throws RangeError without a preference. */
export function winRate(preferences: readonly Preference[]): WinRate {
  const n = preferences.length;
  if (n === 0) throw new RangeError('[win-rate] there is no preference to count');
  const p = preferences.map(({ preference }) => preference);
  const delta = preferences.map(({ before_length, after_length }) => after_length - before_length);
  const raw: number[] = [];
  const controlled: number[] = [];
  const draw = new Draw(`win rate ${n}`);
  const estimate = controlledRate(p, delta);
  for (let r = 0; r < RESAMPLES; r++) {
    const at = p.map(() => draw.int(0, n - 1));
    const drawn = at.map((i) => p[i]!);
    raw.push(average(drawn));
    if (estimate !== null) {
      const rate = controlledRate(
        drawn,
        at.map((i) => delta[i]!),
      );
      if (rate !== null) controlled.push(rate);
    }
  }
  const interval = n === 1 ? () => ({ low: 0, high: 1 }) : percentiles;
  const differing = preferences.filter((_, i) => delta[i] !== 0);
  return {
    prompts: n,
    raw: { rate: average(p), ...interval(raw) },
    controlled: estimate === null ? null : { rate: estimate, ...interval(controlled) },
    longer_preferred: differing.length === 0 ? null : average(differing.map(longerPreferred)),
    before_length: average(preferences.map(({ before_length }) => before_length)),
    after_length: average(preferences.map(({ after_length }) => after_length)),
  };
}

function longerPreferred({ preference, before_length, after_length }: Preference): number {
  const second = (1 + Math.sign(preference - 0.5)) / 2;
  return after_length > before_length ? second : 1 - second;
}

/** σ(θ) for preferences `p` and length differences `delta`; null where θ is not identified. */
export function controlledRate(p: readonly number[], delta: readonly number[]): number | null {
  const spread = deviation(delta);
  if (spread === 0 && delta[0] !== 0) return null;
  const { theta } = fitLogistic(
    p,
    delta.map((d) => (spread === 0 ? 0 : Math.tanh(d / spread))),
  );
  return sigmoid(theta);
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

function percentiles(rates: number[]): { low: number; high: number } {
  const sorted = Float64Array.from(rates).sort();
  return { low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
}
