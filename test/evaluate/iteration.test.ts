import { describe, expect, it } from '@jest/globals';
import type { PairRecord, RankingRecord } from '../../src/data/records.js';
import {
  freshShare,
  measureCompletion,
  measureIteration,
  measurePair,
  type IterationRecords,
} from '../../src/evaluate/iteration.js';

const ranking = (
  prompt_id: string,
  reward_current: number[],
  kendall_tau: number,
  skipped?: RankingRecord['skipped'],
): RankingRecord => ({
  prompt_id,
  samples: reward_current.map((_, i) => i),
  reward_current,
  reward_previous: reward_current,
  rank_current: [],
  rank_previous: [],
  kendall_tau,
  spearman: kendall_tau / 2,
  top_order: 1,
  consistency: (kendall_tau + 1) / 2,
  ...(skipped && { skipped }),
});
const completion = (
  prompt_id: string,
  sample: number,
  text: string,
  token_ids: number[],
  finish_reason: 'eos' | 'length' = 'eos',
) =>
  measureCompletion(
    { prompt_id, sample, completion: text, token_ids, finish_reason },
    { answer: '5' },
  );
const records = (some: Partial<IterationRecords>): IterationRecords => ({
  rankings: [],
  pairs: [],
  completions: [],
  scores: [],
  samplerChecks: [],
  noise: [],
  steps: [],
  ...some,
});

describe('measureIteration', () => {
  it('reports null, not 0, for a figure without data', () => {
    const { prompts, pairs, skipped, ranking_couples, ranking_ties, ...measured } =
      measureIteration(records({}));
    expect([prompts, pairs, skipped, ranking_couples, ranking_ties]).toEqual([0, 0, {}, 0, 0]);
    expect(new Set(Object.values(measured))).toEqual(new Set([null]));
  });

  it('averages C and τ over the prompts that made a pair', () => {
    const rankings = [
      ranking('a', [1, 2], 1),
      ranking('b', [1, 2], -0.6),
      ranking('c', [1, 2], 0.2),
      ranking('d', [1, 2], 0),
      ranking('e', [1, 1], -1, 'all_equal'),
    ];
    expect(measureIteration(records({ rankings }))).toMatchObject({
      prompts: 5,
      skipped: { all_equal: 1 },
      top_order: 1,
    });
    const { kendall_tau, kendall_quartiles, consistency, spearman } = measureIteration(
      records({ rankings }),
    );
    expect(kendall_tau).toBeCloseTo(0.15, 12);
    expect(spearman).toBeCloseTo(0.075, 12);
    expect(consistency).toBeCloseTo(0.575, 12);
    // numpy.percentile([1, -0.6, 0.2, 0], [25, 50, 75])
    [-0.15, 0.1, 0.4].forEach((q, i) => expect(kendall_quartiles![i]).toBeCloseTo(q, 12));
  });

  it('counts a couple of a right and a wrong response within a prompt, ties as half', () => {
    const right = 'Answer: 5';
    const wrong = 'Answer: 4';
    const texts: Record<string, string[]> = {
      a: [right, wrong, right, wrong],
      b: [wrong, right],
      c: [right, right],
      d: [wrong, wrong],
    };
    const completions = Object.entries(texts).flatMap(([id, all]) =>
      all.map((text, i) => completion(id, i, text, [1, 2])),
    );
    const measured = measureIteration(
      records({
        completions,
        // a: couples (3, 1) won, (3, 2) won, (1, 1) tied, (1, 2) lost; b: (0, 7) lost; c and d have
        // one kind alone
        rankings: [
          ranking('a', [3, 1, 1, 2], 1),
          ranking('b', [7, 0], 1),
          ranking('c', [1, 2], 1),
          ranking('d', [1, 2], 1, 'below_threshold'),
        ],
        pairs: [
          {
            prompt_id: 'a',
            chosen_sample: 0,
            rejected_sample: 1,
            reward_chosen: 3,
            reward_rejected: 1,
            chosen_correct: true,
            rejected_correct: false,
          },
          {
            prompt_id: 'b',
            chosen_sample: 0,
            rejected_sample: 1,
            reward_chosen: 7,
            reward_rejected: 0,
            chosen_correct: false,
            rejected_correct: true,
          },
        ],
      }),
    );
    expect(measured).toMatchObject({
      ranking_couples: 5,
      ranking_ties: 1,
      ranking_accuracy: 2.5 / 5,
      sample_accuracy: 0.5,
      chosen_accuracy: 0.5,
      rejected_accuracy: 0.5,
      pair_margin: 4.5,
    });
  });

  it('judges the completions of pairs, whichever model sampled them', () => {
    const [chosen, rejected] = ['Answer: 5', 'Answer: 4'].map((content) => [
      { role: 'assistant' as const, content },
    ]);
    // Sample 7 is none of θ_t's completions.
    const record = { prompt_id: 'a', chosen_sample: 7, rejected_sample: 0, chosen, rejected };
    const pairs = [
      measurePair(record as unknown as PairRecord, { answer: '5' }),
      measurePair({ ...record, prompt_id: 'b' } as unknown as PairRecord, undefined),
    ];
    expect(measureIteration(records({ pairs }))).toMatchObject({
      chosen_accuracy: 1,
      rejected_accuracy: 0,
      sample_accuracy: null,
    });
  });

  it('leaves out prompts without a known answer', () => {
    const unknown = measureCompletion(
      { prompt_id: 'a', sample: 0, completion: 'Answer: 5', token_ids: [1], finish_reason: 'eos' },
      undefined,
    );
    expect(unknown.correct).toBeNull();
    expect(
      measureIteration(records({ completions: [unknown], rankings: [ranking('a', [1], 1)] })),
    ).toMatchObject({ ranking_couples: 0, ranking_accuracy: null, sample_accuracy: null });
  });

  it('estimates KL by the mean log ratio, per response and per token', () => {
    const scores = [
      { tokens: 4, logp_current: -3, logp_base: -5 },
      { tokens: 6, logp_current: -8, logp_base: -7 },
    ];
    expect(measureIteration(records({ scores }))).toMatchObject({
      kl_response: 0.5,
      kl_token: 0.1,
    });
  });

  it('takes the largest difference between sampler and scorer, and their lowest τ', () => {
    const samplerChecks = [
      { logp_sampled: [-3, -5], logp_scored: [-3, -5.25], kendall_tau: 1 },
      { logp_sampled: [-8, -7], logp_scored: [-7.875, -7], kendall_tau: 0.5 },
    ];
    expect(measureIteration(records({ samplerChecks }))).toMatchObject({
      sampler_difference: 0.25,
      sampler_tau: 0.5,
    });
  });

  it('measures length and repetition by response', () => {
    const completions = [
      completion('a', 0, '', [7, 7, 7, 7, 7, 7], 'length'),
      completion('a', 1, '', [1, 2, 3, 4, 5, 6]),
      completion('a', 2, '', [9]),
    ];
    const measured = measureIteration(records({ completions }));
    expect(measured).toMatchObject({
      mean_length: 13 / 3,
      truncated: 1 / 3,
      distinct_2: (1 / 5 + 1) / 2,
    });
    expect(measured.repeated_4).toBeCloseTo((2 / 3 + 0) / 2, 12);
  });

  it('reports the margins of the first step and of the last quarter', () => {
    const steps = [1, 2, 3, 4, 5, 6, 7, 8].map((step) => ({
      'rewards/margins': step,
      'rewards/accuracies': step / 8,
    }));
    expect(measureIteration(records({ steps }))).toMatchObject({
      reward_margin_first: 1,
      reward_margin: 7.5,
      reward_accuracy: 7.5 / 8,
    });
  });
});

describe('freshShare', () => {
  it.each([
    [[1, 2, 1, 2, 1], 2, 0.5],
    [[1, 12, 11, 2], 2, 1],
    [[1, 2, 3], 4, null],
    [[1, 2, 3, 4], 4, 1],
    [[], 2, null],
  ])('of %j, %d-grams: %j', (tokens, n, share) => expect(freshShare(tokens, n)).toBe(share));
});
