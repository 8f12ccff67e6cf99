/** Judge and implicit reward together (z-scores within prompts), and beside each other (SCIR). */
import { describe, expect, it } from '@jest/globals';
import type { JudgementRecord, RewardRecord, ScoreRecord } from '../../src/data/records.js';
import { combinedRewards, comparedRewards } from '../../src/reward/combined.js';
import { externalSet } from '../../src/reward/reward.js';
import { rewardsFromJudgements } from '../../src/run/stages/reward.js';

const reward = (
  prompt_id: string,
  sample: number,
  current: number,
  previous = current,
): RewardRecord => ({ prompt_id, sample, reward_current: current, reward_previous: previous });

describe('combinedRewards', () => {
  it('is z(judge) + z(implicit), each within its prompt and model', () => {
    const judge = [
      reward('a', 0, 1, 5),
      reward('a', 1, 3, 5),
      reward('b', 0, 2),
      reward('b', 1, 4),
    ];
    const implicit = [
      reward('b', 1, 10),
      reward('b', 0, 10),
      reward('a', 0, -4, 3),
      reward('a', 1, -2, 1),
    ];
    const combined = combinedRewards(judge, implicit);
    expect(combined.map(({ prompt_id, sample }) => `${prompt_id}${sample}`)).toEqual([
      'a0',
      'a1',
      'b0',
      'b1',
    ]);
    // a, θ_t: judge 1, 3 → −1, 1; implicit −4, −2 → −1, 1.
    // a, θ_{t−1}: judge constant → 0; implicit 3, 1 → 1, −1.
    // b: judge 2, 4 → −1, 1; implicit constant → 0.
    expect(combined.map((r) => r.reward_current)).toEqual([-2, 2, -1, 1]);
    expect(combined.map((r) => r.reward_previous)).toEqual([1, -1, -1, 1]);
  });
  it('divides by the root of the mean square over N completions', () => {
    const judge = [1, 2, 6].map((points, i) => reward('a', i, points));
    const flat = [0, 1, 2].map((i) => reward('a', i, 0.5));
    const s = Math.sqrt((4 + 1 + 9) / 3);
    combinedRewards(judge, flat).forEach((r, i) =>
      expect(r.reward_current).toBeCloseTo([-2 / s, -1 / s, 3 / s][i]!, 12),
    );
  });
  it('two rewards that contradict each other tie, whatever float64 makes of their sums', () => {
    for (const pattern of ['01', '0011', '0001', '00001', '01011'])
      for (let draw = 1; draw <= 200; draw++) {
        const [low, high] = [-Math.sin(draw) * 50, Math.cos(3 * draw)];
        const judge = [...pattern].map((bit, i) => reward('a', i, Number(bit) * 3 + 1 / 3));
        const implicit = [...pattern].map((bit, i) => reward('a', i, bit === '0' ? high : low));
        if (low > high) continue;
        const sums = combinedRewards(judge, implicit).map((r) => r.reward_current);
        expect(new Set(sums).size).toBe(1);
      }
  });
  it('a reward that is equal for all counts 0, whatever its mean rounds to', () => {
    const flat = [0, 1, 2].map((i) => reward('a', i, 0.1));
    const sums = combinedRewards(flat, flat).map((r) => r.reward_current);
    expect(sums).toEqual([0, 0, 0]);
  });
  it('names a completion without a score', () =>
    expect(() => combinedRewards([reward('a', 1, 1)], [reward('a', 0, 1)])).toThrow(
      'sample 1 of prompt "a" has a judgement but is missing from the scores',
    ));
});

describe('comparedRewards', () => {
  it('puts the second reward of θ_t beside the first', () => {
    expect(
      comparedRewards(
        [reward('a', 0, 3, 9), reward('a', 1, 1, 9)],
        [reward('a', 1, -7, 0), reward('a', 0, -5, 0)],
      ),
    ).toEqual([reward('a', 0, 3, -5), reward('a', 1, 1, -7)]);
  });
});

const score = (sample: number, current: number): ScoreRecord => ({
  prompt_id: 'a',
  sample,
  tokens: 2,
  logp_current: current,
  logp_previous: -50 * sample - 1,
  logp_base: -10,
});
const points = (sample: number, given: number): JudgementRecord[] =>
  (['current', 'previous'] as const).map((judge) => ({
    prompt_id: 'a',
    sample,
    judge,
    judgement: 0,
    score: given,
    text: '',
  }));

describe('rewardsFromJudgements', () => {
  const scores = [score(0, -4), score(1, -8)];
  const judgements = [...points(0, 2), ...points(1, 5)];
  it('with own_implicit: judge of θ_t against log π_θt − log π_θ0 of θ_t', () => {
    const { rewards, measured } = rewardsFromJudgements(judgements, scores, {
      source: 'judge',
      against: 'own_implicit',
      length: 'sum',
    });
    expect(measured).toBe(true);
    expect(rewards).toEqual([reward('a', 0, 2, 6), reward('a', 1, 5, 2)]);
  });
  it('without it: judge of θ_t against judge of θ_{t−1}', () => {
    expect(
      rewardsFromJudgements(judgements, scores, { source: 'judge', against: 'none', length: 'sum' })
        .rewards,
    ).toEqual([reward('a', 0, 2), reward('a', 1, 5)]);
  });
});

it('an external reward can be compared with the implicit reward of θ_t, too', () => {
  const scores = [score(0, -4), score(1, -8)];
  const external = [
    { prompt_id: 'a', sample: 0, reward: 1 },
    { prompt_id: 'a', sample: 1, reward: 0 },
  ];
  expect(
    externalSet(external, scores, { source: 'implicit', by: 'current' }).map(
      (r) => r.reward_previous,
    ),
  ).toEqual([6, 2]);
});
