// The interval that the experiments registered: the paired bootstrap (Efron 1979) of a difference
// of accuracies. Questions are drawn with replacement, each with both models' answers; the interval
// is the 2.5 and 97.5 percentiles of 10,000 differences. The draws depend only on the counts.
import { Draw } from '../../dist/data/draw.js';
import { compare, quantile } from '../../dist/evaluate/intervals.js';

const RESAMPLES = 10_000;
/** With fewer discordant questions the bootstrap is too narrow: of questions that were all won it
 * draws no lost one, and without a difference its interval is a point. */
const ENOUGH = 10;

/** `compare`, with the bootstrap's interval where at least ten questions differ. */
export function compareRegistered(before, after) {
  const compared = compare(before, after);
  const { questions, onlyBefore, onlyAfter } = compared;
  if (onlyBefore + onlyAfter < ENOUGH) return compared;
  return { ...compared, ...bootstrapDifference(questions, onlyBefore, onlyAfter) };
}

/**
 * 95 % interval of (c − b) / n, where of n questions, at least one, b are answered correctly by the
 * first model only and c by the second only. Of n drawn questions, those on which the models differ
 * are Binomial(n, (b + c) / n), and of these the wins Binomial(·, c / (b + c)): two draws per
 * resample instead of n.
 */
export function bootstrapDifference(n, b, c) {
  const draw = new Draw(`bootstrap ${n} ${b} ${c}`);
  const uniform = () => draw.int(0, 2 ** 32 - 1) / 2 ** 32;
  const parted = binomial(n, (b + c) / n);
  const won = new Map();
  const differences = Float64Array.from({ length: RESAMPLES }, () => {
    const k = drawn(parted, uniform());
    if (!won.has(k)) won.set(k, binomial(k, b + c === 0 ? 0 : c / (b + c)));
    return (2 * drawn(won.get(k), uniform()) - k) / n;
  }).sort();
  return { low: quantile(differences, 0.025), high: quantile(differences, 0.975) };
}

/** P(X ≤ k) of Binomial(n, p), k = 0 … n. */
function binomial(n, p) {
  const cumulative = new Float64Array(n + 1).fill(1);
  if (p <= 0) return cumulative;
  if (p >= 1) return cumulative.fill(0, 0, n);
  let logTerm = n * Math.log1p(-p);
  let sum = 0;
  for (let k = 0; k < n; k++) {
    cumulative[k] = sum += Math.exp(logTerm);
    logTerm += Math.log(((n - k) / (k + 1)) * (p / (1 - p)));
  }
  return cumulative;
}

/** The first k with `u` < P(X ≤ k). */
function drawn(cumulative, u) {
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (u < cumulative[middle]) high = middle;
    else low = middle + 1;
  }
  return low;
}
