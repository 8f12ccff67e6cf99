import { describe, expect, it } from '@jest/globals';
import { wilson } from '../../src/evaluate/intervals.js';
import { byLength, rankingAccuracy, type RatedPair } from '../../src/evaluate/ranking.js';

const pair = (a: number, rewardA: number, b: number, rewardB: number): RatedPair => ({
  chosen: { tokens: a, reward: rewardA },
  rejected: { tokens: b, reward: rewardB },
});

describe('rankingAccuracy', () => {
  const pairs = [
    pair(10, 2, 5, 1), // longer chosen, right
    pair(20, 3, 4, 1), // longer chosen, right
    pair(30, 1, 10, 4), // longer chosen, wrong
    pair(95, 2, 100, 2), // shorter chosen, tie, within 10 %
    pair(50, 1, 50, 0), // equal length, right
    pair(9, 0, 10, 1), // shorter chosen, wrong, exactly at 10 %
  ];
  const measured = rankingAccuracy(pairs, 0.1);

  it('counts a tie half, with Wilson intervals', () => {
    expect(measured.all).toEqual({ pairs: 6, accuracy: 3.5 / 6, ...wilson(3.5, 6) });
  });

  it('takes pairs of about equal length apart', () => {
    expect(measured.matched).toEqual({ pairs: 3, accuracy: 0.5, ...wilson(1.5, 3) });
  });

  it('balances pairs whose chosen completion is the longer and the shorter one', () => {
    const [a, b] = [wilson(2, 3), wilson(0.5, 2)];
    expect(measured.balanced.pairs).toBe(5);
    expect(measured.balanced.accuracy).toBeCloseTo((2 / 3 + 1 / 4) / 2, 14);
    expect(measured.balanced.low).toBeCloseTo(
      (2 / 3 + 1 / 4) / 2 - Math.sqrt((2 / 3 - a.low) ** 2 + (1 / 4 - b.low) ** 2) / 2,
      14,
    );
    expect(
      rankingAccuracy(byLength(pairs.map((p) => [p.chosen.tokens, p.rejected.tokens])), 0.1)
        .balanced.accuracy,
    ).toBe(0.5);
  });

  it('has no figure without pairs', () => {
    expect(rankingAccuracy([], 0.1).all).toEqual({ pairs: 0, accuracy: null, low: 0, high: 1 });
  });
});
