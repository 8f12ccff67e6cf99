/**
 * The contract of every reward: one finite number per completion, in the given order, without a
 * change of its input. A new reward is a line in REWARDS.
 */
import { describe, expect, it } from '@jest/globals';
import type { CompletionRecord, ScoreRecord } from '../../src/data/records.js';
import { combinedRewards } from '../../src/reward/combined.js';
import { callRewards, joinRewards } from '../../src/reward/external.js';
import { goldRewards } from '../../src/reward/gold.js';
import { judgeRewards } from '../../src/reward/judge.js';
import { modelRewards } from '../../src/reward/model.js';
import { REWARD_SOURCES, rewardSet, type RewardSource } from '../../src/reward/reward.js';

const completions: CompletionRecord[] = ['a', 'b'].flatMap((prompt_id) =>
  [0, 1, 2].map((sample) => ({
    prompt_id,
    sample,
    prompt: [{ role: 'user' as const, content: `What is ${prompt_id}?` }],
    completion: `Answer: ${sample}`,
    prompt_token_ids: [1, 2],
    token_ids: [3, 4],
    logprob: -1 - sample,
    finish_reason: 'eos' as const,
  })),
);
const scores: ScoreRecord[] = completions.map(({ prompt_id, sample }) => ({
  prompt_id,
  sample,
  tokens: 2,
  logp_current: -1 - sample,
  logp_previous: -2 - sample,
  logp_base: -3,
}));

interface Rewarded {
  prompt_id: string;
  sample: number;
}
const valuesOf = (record: object): number[] =>
  Object.entries(record).flatMap(([key, value]) =>
    key.startsWith('reward') ? [value as number] : [],
  );

const judgementsOf = (of: CompletionRecord[]) =>
  of.flatMap(({ prompt_id, sample }) =>
    (['current', 'previous'] as const).map((judge) => ({
      prompt_id,
      sample,
      judge,
      judgement: 0,
      score: sample,
      text: `Score: ${sample}`,
    })),
  );

const REWARDS: Record<RewardSource, (of: CompletionRecord[]) => Promise<Rewarded[]> | Rewarded[]> =
  {
    implicit: () => rewardSet(scores, { source: 'implicit' }),
    likelihood: () => rewardSet(scores, { source: 'likelihood' }),
    judge: (of) => judgeRewards(judgementsOf(of)).rewards,
    judge_implicit: (of) =>
      combinedRewards(
        judgeRewards(judgementsOf(of)).rewards,
        rewardSet(scores, { source: 'implicit' }),
      ),
    model: (of) =>
      modelRewards(
        of,
        {
          name: 'rm',
          encode: () => [1, 2, 3],
          model: {
            config: { numLabels: 1, maxPositionEmbeddings: 8 },
            classify: async ({ sequences }) => Float32Array.from(sequences, (_, i) => i),
          },
        },
        { label: null, maxNumBatchedTokens: 'auto' },
      ),
    file: (of) =>
      joinRewards(
        of.toReversed().map(({ prompt_id, sample }, i) => ({
          value: { prompt_id, sample, reward: sample },
          where: `scores.jsonl line ${i + 1}`,
        })),
        of,
        'scores.jsonl',
      ),
    gold: (of) =>
      goldRewards(
        of,
        ['a', 'b'].map((id) => ({ id, answer: '1' })),
      ),
    function: (of) => callRewards((batch) => batch.map(({ completion }) => completion.length), of),
  };

describe.each(REWARD_SOURCES)('%s', (source) => {
  it('gives each completion finite numbers, in order, and changes nothing', async () => {
    const before = structuredClone(completions);
    const rewards = await REWARDS[source](completions);
    expect(rewards.map(({ prompt_id, sample }) => [prompt_id, sample])).toEqual(
      completions.map(({ prompt_id, sample }) => [prompt_id, sample]),
    );
    for (const record of rewards) {
      expect(valuesOf(record).length).toBeGreaterThan(0);
      expect(valuesOf(record).every(Number.isFinite)).toBe(true);
    }
    expect(completions).toEqual(before);
  });
});

describe('a reward function', () => {
  it('gets copies, which it may spoil', async () => {
    const before = structuredClone(completions);
    await callRewards((batch) => {
      const items = batch as unknown as { prompt: { content: string }[]; completion: string }[];
      const rewards = items.map(() => 1);
      for (const item of items) {
        item.prompt[0]!.content = 'spoilt';
        item.prompt.length = 0;
        item.completion = '';
      }
      items.length = 0;
      return rewards;
    }, completions);
    expect(completions).toEqual(before);
  });

  it('may return BigInt', async () => {
    const rewards = await callRewards((batch) => batch.map((_, i) => BigInt(i)), completions);
    expect(rewards.map(({ reward }) => reward)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it.each<[string, () => never, RegExp]>([
    [
      'an Error',
      () => {
        throw new Error('no network');
      },
      /the reward function failed on the 6 completions that begin with prompt "a": no network/,
    ],
    [
      'something else',
      () => {
        throw 'oops'; // eslint-disable-line @typescript-eslint/only-throw-error
      },
      /begin with prompt "a": "oops"/,
    ],
  ])('that throws %s is told with its prompts', async (_, work, message) => {
    await expect(callRewards(work, completions)).rejects.toThrow(message);
  });
});
