import { describe, expect, it } from '@jest/globals';
import type { ScoreRecord } from '../../src/data/records.js';
import { agreement } from '../../src/preference/consistency.js';
import { baseRoles, rewardSet } from '../../src/reward/reward.js';

const score = (
  sample: number,
  tokens: number,
  current: number,
  previous: number,
  base: number,
): ScoreRecord => ({
  prompt_id: 'p',
  sample,
  tokens,
  logp_current: current,
  logp_previous: previous,
  logp_base: base,
});

describe('rewardSet', () => {
  it('is the difference of summed log-probs from the base', () => {
    expect(rewardSet([score(0, 4, -6, -7, -8), score(1, 2, -5, -3, -4)])).toEqual([
      { prompt_id: 'p', sample: 0, reward_current: 2, reward_previous: 1 },
      { prompt_id: 'p', sample: 1, reward_current: -1, reward_previous: 1 },
    ]);
  });

  it('is the mean log-prob per token where θ_{t−1} is the base: iteration 1 after SFT', () => {
    const scores = [score(0, 4, -6, -8, -8), score(1, 2, -5, -3, -3)];
    expect(baseRoles(scores)).toEqual({ currentIsBase: false, previousIsBase: true });
    expect(rewardSet(scores).map((r) => [r.reward_current, r.reward_previous])).toEqual([
      [2, -2],
      [-2, -1.5],
    ]);
  });

  it('gives C = 1 where θ_t is the base too: iteration 1 without SFT', () => {
    const rewards = rewardSet([
      score(0, 4, -8, -8, -8),
      score(1, 2, -3, -3, -3),
      score(2, 3, -7, -7, -7),
    ]);
    const { consistency } = agreement(
      rewards.map((r) => r.reward_current),
      rewards.map((r) => r.reward_previous),
      'kendall',
    );
    expect(rewards[0]!.reward_current).toBe(-2);
    expect(consistency).toBe(1);
  });

  it(
    'decides once for the set: one completion that happens to score as the base changes ' +
      'nothing',
    () => {
      expect(rewardSet([score(0, 4, -8, -8, -8), score(1, 2, -3, -4, -5)])[0]).toMatchObject({
        reward_current: 0,
        reward_previous: 0,
      });
    },
  );

  it('takes explicit roles', () => {
    expect(
      rewardSet([score(0, 4, -8, -8, -8)], undefined, {
        currentIsBase: false,
        previousIsBase: true,
      })[0],
    ).toMatchObject({ reward_current: 0, reward_previous: -2 });
  });

  it('names the completion whose scores make no sense', () => {
    expect(() => rewardSet([score(3, 4, NaN, -8, -8)])).toThrow(
      'sample 3 of prompt "p" has logp_current = NaN',
    );
    expect(() => rewardSet([score(3, 4, -8, -8, -Infinity)])).toThrow('logp_base = -Infinity');
    expect(() => rewardSet([score(3, 0, -8, -8, -8)])).toThrow('tokens = 0');
  });

  it('accepts an empty set', () => expect(rewardSet([])).toEqual([]));
});
