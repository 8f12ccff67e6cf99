import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import type { AnswerRecord } from '../../src/data/records.js';
import { accuracyOf, compare, mcnemarExact, wilson } from '../../src/evaluate/intervals.js';

interface Golden {
  wilson: { correct: number; total: number; low: number; high: number }[];
  mcnemar: { b: number; c: number; p: number }[];
}
const golden = JSON.parse(readFileSync(new URL('../golden/intervals.json', import.meta.url), 'utf8')) as Golden;
const answer = (prompt_id: string, correct: boolean): AnswerRecord => ({ prompt_id, task: 't', completion: '', extracted: null, answer: '', correct, tokens: 1 });

describe('Wilson interval', () => {
  it.each(golden.wilson)('of $correct out of $total is scipy’s', ({ correct, total, low, high }) => {
    expect(wilson(correct, total).low).toBeCloseTo(low, 12);
    expect(wilson(correct, total).high).toBeCloseTo(high, 12);
  });
  it('of nothing is everything', () => expect(accuracyOf([])).toEqual({ correct: 0, total: 0, accuracy: 0, low: 0, high: 1 }));
  it('goes with the accuracy', () => expect(accuracyOf([answer('a', true), answer('b', false)])).toMatchObject({ correct: 1, total: 2, accuracy: 0.5 }));
});

describe('McNemar', () => {
  it.each(golden.mcnemar)('p of $b against $c is scipy’s', ({ b, c, p }) => expect(Math.abs(mcnemarExact(b, c) - p)).toBeLessThanOrEqual(1e-10 * p));
  it('joins by id, whatever the order, and leaves out what one side lacks', () => {
    const before = [answer('a', true), answer('b', false), answer('c', true), answer('d', false)];
    const after = [answer('d', true), answer('c', false), answer('b', true), answer('x', true)];
    expect(compare(before, after)).toEqual({ questions: 3, onlyBefore: 1, onlyAfter: 2, difference: 1 / 3, p: 1 });
    expect(compare([], after)).toMatchObject({ questions: 0, difference: 0, p: 1 });
  });
});
