import { describe, expect, it } from '@jest/globals';
import type { ScoreRecord } from '../../src/data/records.js';
import { lengthControlled, lengthSlope } from '../../src/reward/length.js';
import { rewardSet } from '../../src/reward/reward.js';

const reward = (prompt_id: string, tokens: number, value: number) => ({
  prompt_id,
  tokens,
  reward: value,
});

describe('rewards without length', () => {
  it('takes out the slope within prompts, whatever the levels of the prompts are', () => {
    // Two nats per token in both prompts, and a residual of ±0.5 that lengths do not explain.
    const rewards = [
      reward('a', 1, 2.5),
      reward('a', 3, 5.5),
      reward('a', 2, 4),
      reward('b', 10, 119.5),
      reward('b', 12, 124.5),
    ];
    // Σ (r − r̄)(|y| − |ȳ|) = 3 + 5, Σ (|y| − |ȳ|)² = 2 + 2
    expect(lengthSlope(rewards)).toBeCloseTo(2, 14);
    expect(lengthControlled(rewards)).toEqual([0.5, -0.5, 0, 99.5, 100.5]);
  });

  it('two completions whose difference length explains are equal', () => {
    for (let draw = 1; draw <= 200; draw++) {
      const rewards = [1, 4].map((tokens) => reward('a', tokens, 7 * Math.sin(draw * tokens)));
      const [first, second] = lengthControlled(rewards);
      expect(first).toBe(second);
    }
  });

  it('changes nothing where every prompt has one length', () => {
    expect(lengthSlope([reward('a', 3, 1), reward('a', 3, 2), reward('b', 9, 7)])).toBe(0);
  });

  it('controls both models alike, θ_0 by its summed log-prob', () => {
    const score = (sample: number, tokens: number, current: number, base: number): ScoreRecord => ({
      prompt_id: 'p',
      sample,
      tokens,
      logp_current: current,
      logp_previous: base,
      logp_base: base,
    });
    const scores = [score(0, 2, -3, -4), score(1, 4, -5, -8), score(2, 6, -4, -9)];
    const rewards = rewardSet(scores, { source: 'implicit', length: 'controlled' });
    // r = 1, 3, 5 rises by 1 per token, log π_θ0 = −4, −8, −9 falls by 1.25.
    expect(rewards.map((r) => r.reward_current)).toEqual([-1, -1, -1]);
    expect(rewards.map((r) => r.reward_previous)).toEqual([-1.5, -3, -1.5]);
    const likelihood = rewardSet(scores, { source: 'likelihood', length: 'controlled' });
    expect(likelihood.map((r) => r.reward_current)).toEqual([-2.5, -4, -2.5]);
  });
});
