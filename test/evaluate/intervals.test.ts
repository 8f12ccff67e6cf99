import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Draw } from '../../src/data/draw.js';
import type { AnswerRecord } from '../../src/data/records.js';
import {
  accuracyOf,
  differenceInterval,
  byTask,
  compare,
  differenceOfScores,
  mcnemarExact,
  normalised,
  wilson,
} from '../../src/evaluate/intervals.js';

interface Golden {
  wilson: { correct: number; total: number; low: number; high: number }[];
  mcnemar: { b: number; c: number; p: number }[];
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
      ...differenceInterval(3, 1, 2),
      p: 1,
    });
    expect(compare([], after)).toMatchObject({ questions: 0, difference: 0, p: 1 });
  });
});

describe('score interval', () => {
  it.each(golden.score)('of $n questions, $b lost and $c won', ({ n, b, c, low, high }) => {
    const ours = differenceInterval(n, b, c);
    expect(ours.low).toBeCloseTo(low, 7);
    expect(ours.high).toBeCloseTo(high, 7);
  });
  it('has a width without a difference, and is everything without a question', () => {
    const { low, high } = differenceInterval(50, 0, 0);
    expect(low).toBeLessThan(-0.05);
    expect(high).toBeCloseTo(-low, 12);
    expect(differenceInterval(0, 0, 0)).toEqual({ low: -1, high: 1 });
  });
  it.each([
    { n: 10, lost: 0, won: 1 },
    { n: 12, lost: 0.1, won: 0.75 },
    { n: 20, lost: 0.05, won: 0.6 },
    { n: 96, lost: 0.05, won: 0.1 },
  ])('contains the difference in 93 % of samples or more: $n questions', ({ n, lost, won }) => {
    const draw = new Draw(`coverage ${n}`);
    const samples = Array.from({ length: 1000 }, () => {
      const drawn = Array.from({ length: n }, () => draw.int(0, 9_999) / 10_000);
      const b = drawn.filter((u) => u < lost).length;
      return differenceInterval(n, b, drawn.filter((u) => u >= lost && u < lost + won).length);
    });
    const truth = won - lost;
    const covered = samples.filter(({ low, high }) => low <= truth && truth <= high).length;
    expect(covered).toBeGreaterThanOrEqual(930);
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
      low: -1,
      high: 1,
    });
    expect(Math.abs(found.p - 2 / 16)).toBeLessThan(0.015);
  });
  it('have an interval that excludes 0 where p is below 0.05, and only there', () => {
    for (const n of [1, 3, 5, 6, 7, 12]) {
      const differences = Array.from({ length: n }, (_, i) => 0.1 + 0.02 * i);
      const { low, high, p } = differenceOfScores(differences);
      expect([n, low > 0]).toEqual([n, p < 0.05]);
      expect(high).toBeGreaterThanOrEqual(0.1 + 0.01 * (n - 1));
    }
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
