import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import type { AnswerRecord } from '../../src/data/records.js';
import {
  accuracyOf,
  bootstrapDifference,
  differenceInterval,
  byTask,
  compare,
  differenceOfScores,
  scoreDifference,
  mcnemarExact,
  normalised,
  wilson,
} from '../../src/evaluate/intervals.js';

interface Golden {
  wilson: { correct: number; total: number; low: number; high: number }[];
  mcnemar: { b: number; c: number; p: number }[];
  bootstrap: {
    n: number;
    b: number;
    c: number;
    scipy: [number, number];
    exact: [number, number];
  }[];
  score: { n: number; b: number; c: number; low: number; high: number }[];
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/intervals.json', import.meta.url), 'utf8'),
) as Golden;
const answer = (prompt_id: string, correct: boolean): AnswerRecord => ({
  prompt_id,
  task: 't',
  completion: '',
  extracted: null,
  answer: '',
  correct,
  tokens: 1,
});

describe('Wilson interval', () => {
  it.each(golden.wilson)(
    'of $correct out of $total is scipy’s',
    ({ correct, total, low, high }) => {
      expect(wilson(correct, total).low).toBeCloseTo(low, 12);
      expect(wilson(correct, total).high).toBeCloseTo(high, 12);
    },
  );
  it('of no answers is from 0 to 1', () =>
    expect(accuracyOf([])).toEqual({ correct: 0, total: 0, accuracy: 0, low: 0, high: 1 }));
  it('goes with the accuracy', () =>
    expect(accuracyOf([answer('a', true), answer('b', false)])).toMatchObject({
      correct: 1,
      total: 2,
      accuracy: 0.5,
    }));
});

describe('McNemar', () => {
  it.each(golden.mcnemar)('p of $b against $c is scipy’s', ({ b, c, p }) =>
    expect(Math.abs(mcnemarExact(b, c) - p)).toBeLessThanOrEqual(1e-10 * p),
  );
  it('joins by id, whatever the order, and leaves out what one side lacks', () => {
    const before = [answer('a', true), answer('b', false), answer('c', true), answer('d', false)];
    const after = [answer('d', true), answer('c', false), answer('b', true), answer('x', true)];
    expect(compare(before, after)).toEqual({
      questions: 3,
      onlyBefore: 1,
      onlyAfter: 2,
      before: 1 / 3,
      after: 2 / 3,
      difference: 1 / 3,
      ...scoreDifference(3, 1, 2),
      p: 1,
    });
    expect(compare([], after)).toMatchObject({ questions: 0, difference: 0, p: 1 });
  });
});

describe('paired bootstrap', () => {
  it.each(golden.bootstrap)(
    'of $n questions, $b lost and $c won, is the exact one within a resampling step, as scipy’s is',
    ({ n, b, c, scipy, exact }) => {
      const { low, high } = bootstrapDifference(n, b, c);
      const step = 2 / n + 1e-12;
      for (const [ours, theirs, limit] of [
        [low, scipy[0], exact[0]],
        [high, scipy[1], exact[1]],
      ] as const) {
        expect(Math.abs(ours - limit)).toBeLessThanOrEqual(step);
        expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(2 * step);
      }
      expect(low).toBeLessThanOrEqual((c - b) / n);
      expect(high).toBeGreaterThanOrEqual((c - b) / n);
    },
  );
  it('is the same every time, and null without answers', () => {
    expect(bootstrapDifference(100, 3, 9)).toEqual(bootstrapDifference(100, 3, 9));
    expect(bootstrapDifference(0, 0, 0)).toEqual({ low: -1, high: 1 });
    expect(differenceOfScores([0.25])).toMatchObject({ low: -1, high: 1 });
    expect(bootstrapDifference(50, 0, 0)).toEqual({ low: 0, high: 0 });
  });
});

describe('score interval', () => {
  it.each(golden.score)('of $n questions, $b lost and $c won', ({ n, b, c, low, high }) => {
    const ours = scoreDifference(n, b, c);
    expect(ours.low).toBeCloseTo(low, 7);
    expect(ours.high).toBeCloseTo(high, 7);
  });
  it('takes the place of the bootstrap where fewer than ten questions differ', () => {
    expect(differenceInterval(50, 0, 0)).toEqual(scoreDifference(50, 0, 0));
    expect(differenceInterval(96, 4, 5)).toEqual(scoreDifference(96, 4, 5));
    expect(differenceInterval(96, 4, 6)).toEqual(bootstrapDifference(96, 4, 6));
    expect(differenceInterval(0, 0, 0)).toEqual({ low: -1, high: 1 });
  });
});

describe('answers', () => {
  it('are counted by task, in order of appearance', () => {
    const all = [answer('a', true), { ...answer('b', true), task: 'u' }, answer('c', false)];
    expect(
      byTask(all).map(({ task, answers }) => [task, answers.map(({ prompt_id }) => prompt_id)]),
    ).toEqual([
      ['t', ['a', 'c']],
      ['u', ['b']],
    ]);
  });
  it('have a normalised accuracy only where all were made by log-likelihood', () => {
    const made = { ...answer('a', false), correct_norm: true };
    expect(normalised([made, made])).toMatchObject({ correct: 2, total: 2 });
    expect(normalised([made, answer('b', true)])).toBeNull();
    expect(normalised([])).toBeNull();
  });
});

describe('scores between 0 and 1', () => {
  const answer = (prompt_id: string, score: number) => ({
    task: 'truthfulqa_mc2',
    prompt_id,
    correct: score > 0.5,
    score,
  });
  it('are averaged, with Wilson’s interval of their sum', () => {
    const { correct, accuracy, low, high } = accuracyOf([answer('a', 0.25), answer('b', 0.75)]);
    expect([correct, accuracy]).toEqual([1, 0.5]);
    expect({ low, high }).toEqual(wilson(1, 2));
  });
  it('are compared by question: all differ by the same, so p is that of 2 in 16 flips', () => {
    const ids = ['a', 'b', 'c', 'd'];
    const found = compare(
      ids.map((id) => answer(id, 0.25)),
      ids.map((id) => answer(id, 0.75)),
    );
    expect(found).toMatchObject({
      questions: 4,
      onlyBefore: 0,
      onlyAfter: 4,
      before: 0.25,
      after: 0.75,
      difference: 0.5,
      low: 0.5,
      high: 0.5,
    });
    expect(Math.abs(found.p - 2 / 16)).toBeLessThan(0.015);
  });
  it('have an interval of ±1.96 s/√n where there are many', () => {
    const differences = Array.from({ length: 400 }, (_, i) => ((i * 7919) % 400) / 400 - 0.4);
    const mean = differences.reduce((sum, d) => sum + d, 0) / 400;
    const spread = Math.sqrt(differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / 400);
    const { low, high, p } = differenceOfScores(differences);
    expect(low).toBeCloseTo(mean - (1.96 * spread) / 20, 2);
    expect(high).toBeCloseTo(mean + (1.96 * spread) / 20, 2);
    expect(p).toBeLessThan(0.001);
  });
});
