/**
 * The uncertainty of accuracies.
 *
 *   Wilson (1927) score interval: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.96 for
 *   95 %. Unlike p ± z·s it stays in [0, 1] and is right for few questions and for accuracies
 *   near 0 and 1.
 *
 *   McNemar's exact test (1947) for two models on the same questions: of the b + c questions that
 *   only one of them answers correctly, b ~ Binomial(b + c, ½).
 *
 *   Tango's score interval (1998) of the difference of two accuracies on the same questions: the
 *   differences that the score test does not reject. Unlike a bootstrap it has a width where all
 *   questions that differ were won, or none differs.
 *
 * If a task counts a number between 0 and 1 per question (`score`), Wilson's interval takes the sum
 * of the scores as the number of right answers. It is then wider than necessary, since such scores
 * vary less than 0 and 1 do. The difference of two models has p of the sign-flip permutation test
 * (Fisher 1935), and as interval the means that this test does not reject: the percentiles of the
 * means of random subsets of the questions (Hartigan 1969, Using Subsample Values as Typical
 * Values). Both use the same 10,000 draws, which depend on the number of questions alone.
 */
import { Draw } from '../data/draw.js';
import type { AnswerRecord } from '../data/records.js';

/** Draws of a permutation test. */
const RESAMPLES = 10_000;
/** The 97.5 % point of the normal distribution. */
export const Z95 = 1.959963984540054;

export interface Accuracy {
  /** Right answers, or the sum of the scores. */
  correct: number;
  total: number;
  /** correct / total; 0 if total is 0. */
  accuracy: number;
  /** Wilson 95 % interval; [0, 1] if total is 0. */
  low: number;
  high: number;
}

/** The accuracy of `answers`, 0 … 1, with its 95 % Wilson interval. */
export function accuracyOf(answers: readonly Counted[]): Accuracy {
  const correct = answers.reduce((sum, answer) => sum + counted(answer), 0);
  return {
    correct,
    total: answers.length,
    accuracy: answers.length === 0 ? 0 : correct / answers.length,
    ...wilson(correct, answers.length),
  };
}

type Counted = Pick<AnswerRecord, 'correct' | 'score'>;

/** The contribution of a question to an accuracy: its score, or 1 if it is right. */
const counted = ({ correct, score }: Counted): number => score ?? Number(correct);

/**
 * Accuracy by the length-normalised choice (`acc_norm`); null if an answer was not made by
 * log-likelihood.
 */
export function normalised(
  answers: readonly Pick<AnswerRecord, 'correct_norm'>[],
): Accuracy | null {
  if (answers.length === 0 || answers.some((answer) => answer.correct_norm === undefined))
    return null;
  return accuracyOf(answers.map((answer) => ({ correct: answer.correct_norm! })));
}

/** Answers by their task, in order of first appearance. */
export function byTask<T extends Pick<AnswerRecord, 'task'>>(
  answers: readonly T[],
): { task: string; answers: T[] }[] {
  const tasks = [...new Set(answers.map(({ task }) => task))];
  return tasks.map((task) => ({ task, answers: answers.filter((answer) => answer.task === task) }));
}

/** Wilson 95 % interval of `correct` out of `total`. */
export function wilson(correct: number, total: number): { low: number; high: number } {
  if (total === 0) return { low: 0, high: 1 };
  const p = correct / total;
  const z2 = Z95 * Z95;
  const middle = p + z2 / (2 * total);
  const half = Z95 * Math.sqrt((p * (1 - p)) / total + z2 / (4 * total * total));
  const scale = 1 + z2 / total;
  // At the ends the formula gives 0 and 1 only up to rounding.
  return {
    low: correct === 0 ? 0 : (middle - half) / scale,
    high: correct === total ? 1 : (middle + half) / scale,
  };
}

export interface Comparison {
  /** Questions that both answered; the others are left out. */
  questions: number;
  /** Questions that only one model answers correctly. */
  onlyBefore: number;
  onlyAfter: number;
  /** Accuracies over the shared questions, and after − before. */
  before: number;
  after: number;
  difference: number;
  /** 95 % interval of the difference; [−1, 1] without a question. */
  low: number;
  high: number;
  /**
   * Two-sided p of McNemar's exact test, or of the sign-flip test for scores: the probability of a
   * difference at least this large by chance alone.
   */
  p: number;
}

/** Compares two models on the questions that both answered, joined by task and prompt id. */
export function compare(before: readonly Graded[], after: readonly Graded[]): Comparison {
  const id = (answer: Graded) => `${answer.task} ${answer.prompt_id}`;
  const answerBefore = new Map(before.map((answer) => [id(answer), answer]));
  const shared = after.flatMap((answer) => {
    const earlier = answerBefore.get(id(answer));
    return earlier ? [{ earlier, answer }] : [];
  });
  const n = shared.length;
  const share = (count: number) => (n === 0 ? 0 : count / n);
  const onlyBefore = shared.filter(({ earlier, answer }) => earlier.correct && !answer.correct);
  const onlyAfter = shared.filter(({ earlier, answer }) => answer.correct && !earlier.correct);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const differences = shared.map(({ earlier, answer }) => counted(answer) - counted(earlier));
  const scored = shared.some((two) => (two.earlier.score ?? two.answer.score) !== undefined);
  return {
    questions: n,
    onlyBefore: onlyBefore.length,
    onlyAfter: onlyAfter.length,
    before: share(sum(shared.map(({ earlier }) => counted(earlier)))),
    after: share(sum(shared.map(({ answer }) => counted(answer)))),
    difference: share(sum(differences)),
    ...(scored
      ? differenceOfScores(differences)
      : {
          ...differenceInterval(n, onlyBefore.length, onlyAfter.length),
          p: mcnemarExact(onlyBefore.length, onlyAfter.length),
        }),
  };
}

export type Graded = Pick<AnswerRecord, 'task' | 'prompt_id' | 'correct' | 'score'>;

/**
 * For paired differences of scores, at least one: the 95 % interval of their mean, and the
 * two-sided p of the sign-flip test.
 */
export function differenceOfScores(differences: readonly number[]): {
  low: number;
  high: number;
  p: number;
} {
  const n = differences.length;
  const draw = new Draw(`scores ${n}`);
  const sum = differences.reduce((total, value) => total + value, 0);
  const lows = new Float64Array(RESAMPLES);
  const highs = new Float64Array(RESAMPLES);
  let asFar = 1;
  for (let r = 0; r < RESAMPLES; r++) {
    let size = 0;
    let part = 0;
    for (const value of differences) {
      if (draw.int(0, 1) === 0) continue;
      size++;
      part += value;
    }
    // Sums in another order differ in their last bits.
    if (Math.abs(sum - 2 * part) >= Math.abs(sum) * (1 - 1e-12)) asFar++;
    // The mean is rejected only beyond this subset's; the empty subset rejects none.
    lows[r] = size === 0 ? -1 : part / size;
    highs[r] = size === 0 ? 1 : part / size;
  }
  return {
    low: quantile(lows.sort(), 0.025),
    high: quantile(highs.sort(), 0.975),
    p: asFar / (RESAMPLES + 1),
  };
}

/** Two-sided p: twice the binomial tail P(X ≤ min(b, c)), at most 1. */
export function mcnemarExact(b: number, c: number): number {
  const n = b + c;
  // Terms by logarithms: ½ⁿ underflows from n = 1075 on.
  let logTerm = -n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= Math.min(b, c); k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

/**
 * Tango's 95 % interval of (c − b) / n, where of n questions b are answered correctly by the first
 * model only and c by the second only; [−1, 1] without a question. It has the differences Δ with
 * |c − b − nΔ| ≤ z·√(n·(2q + Δ(1 − Δ))), q the likeliest P(lost) under Δ. At Δ = 0 the test is
 * McNemar's without continuity correction, so for few questions it can exclude 0 where the exact
 * test has p above 0.05.
 */
export function differenceInterval(n: number, b: number, c: number): { low: number; high: number } {
  if (n === 0) return { low: -1, high: 1 };
  const deviation = (delta: number) => {
    const half = (b + c - (2 * n - c + b) * delta) / (4 * n);
    const q = half + Math.sqrt(half * half + (b * delta * (1 - delta)) / (2 * n));
    const variance = n * (2 * q + delta * (1 - delta));
    return (c - b - n * delta) / Math.sqrt(Math.max(variance, Number.MIN_VALUE));
  };
  // The deviation falls as Δ grows.
  const where = (limit: number): number => {
    let [low, high] = [-1, 1];
    for (let step = 0; step < 60; step++) {
      const middle = (low + high) / 2;
      if (deviation(middle) > limit) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  };
  return { low: where(Z95), high: where(-Z95) };
}

/** Linear between neighbours, as in numpy. */
export function quantile(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  return low + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)]! - low);
}
