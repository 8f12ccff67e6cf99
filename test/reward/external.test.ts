import { describe, expect, it } from '@jest/globals';
import type { CompletionRecord, ScoreRecord } from '../../src/data/records.js';
import { callRewards, joinRewards } from '../../src/reward/external.js';
import { goldRewards } from '../../src/reward/gold.js';
import {
  labelProblem,
  labelReward,
  modelRewards,
  type Classifier,
} from '../../src/reward/model.js';
import { externalSet } from '../../src/reward/reward.js';

const completion = (
  prompt_id: string,
  sample: number,
  text = `${prompt_id}${sample}`,
): CompletionRecord => ({
  prompt_id,
  sample,
  prompt: [{ role: 'user', content: prompt_id }],
  completion: text,
  prompt_token_ids: [1],
  token_ids: [2],
  logprob: -1,
  finish_reason: 'eos',
});
const completions = [
  completion('a', 0),
  completion('a', 1),
  completion('b', 0),
  completion('b', 1),
];
const rows = (...values: unknown[]) =>
  values.map((value, i) => ({ value, where: `scores.jsonl line ${i + 1}` }));
const all = [
  { prompt_id: 'a', sample: 0, reward: 1 },
  { prompt_id: 'a', sample: 1, reward: 2 },
  { prompt_id: 'b', sample: 0, reward: 3 },
  { prompt_id: 'b', sample: 1, reward: 4 },
];
const join = (...values: unknown[]) => joinRewards(rows(...values), completions, 'scores.jsonl');

describe('a reward function', () => {
  it('that returns a list of promises is told to await them', () =>
    expect(
      callRewards((async () => [Promise.resolve(1), 2, 3, 4]) as never, completions),
    ).rejects.toThrow(
      'the reward function gave a promise that was not awaited for sample 0 of prompt "a"; a ' +
        'reward is a finite number',
    ));
});

describe('a scores file', () => {
  it('is joined by prompt and sample, in any order', () =>
    expect(join(...[...all].reverse())).toEqual(all));
  it('is also joined by prompt and text', () =>
    expect(
      join(
        ...all.map(({ prompt_id, sample, reward }) => ({
          id: prompt_id,
          completion: `${prompt_id}${sample}`,
          reward,
        })),
      ),
    ).toEqual(all));
  it('may have one row for all samples of one text, or equal rows for each', () => {
    const twins = [completion('a', 0, 'same'), completion('a', 1, 'same')];
    const row = { prompt_id: 'a', completion: 'same', reward: 5 };
    expect(joinRewards(rows(row), twins, 'f').map((r) => r.reward)).toEqual([5, 5]);
    expect(joinRewards(rows(row, row), twins, 'f').map((r) => r.reward)).toEqual([5, 5]);
    expect(() => joinRewards(rows(row, { ...row, reward: 6 }), twins, 'f')).toThrow(
      'scores.jsonl line 2: sample 0 of prompt "a" has a reward already (scores.jsonl line 1)',
    );
  });
  it("keeps a second judge's rewards", () =>
    expect(join(...all.map((row) => ({ ...row, reward_previous: -row.reward })))[3]).toEqual({
      prompt_id: 'b',
      sample: 1,
      reward: 4,
      reward_previous: -4,
    }));

  it.each<[string, unknown[], string]>([
    [
      'another prompt',
      [...all, { prompt_id: 'z', sample: 0, reward: 1 }],
      'scores.jsonl line 5: there is no prompt "z" among the completions; these scores ' +
        'seem to belong to other prompts',
    ],
    [
      'another sample',
      [...all, { prompt_id: 'a', sample: 7, reward: 1 }],
      'scores.jsonl line 5: prompt "a" has no sample 7; its samples are 0, 1',
    ],
    [
      'another text',
      [...all, { prompt_id: 'a', completion: 'else', reward: 1 }],
      'scores.jsonl line 5: prompt "a" has no completion "else"; its samples are 0, 1',
    ],
    [
      'a missing completion',
      all.slice(0, 3),
      'scores.jsonl has no reward for sample 1 of prompt "b"; every completion needs one',
    ],
    [
      'missing completions',
      all.slice(0, 1),
      'scores.jsonl has no reward for sample 1 of prompt "a" and 2 more; every completion ' +
        'needs one',
    ],
    [
      'one twice',
      [...all, all[0]],
      'scores.jsonl line 5: sample 0 of prompt "a" has a reward already (scores.jsonl line ' +
        '1); give each completion one',
    ],
    [
      'NaN',
      [{ ...all[0], reward: NaN }],
      'scores.jsonl line 1: column "reward" must be a finite number, but is NaN',
    ],
    [
      'null',
      [{ ...all[0], reward: null }],
      'scores.jsonl line 1: column "reward" must be a finite number, but is null',
    ],
    [
      'no reward',
      [{ prompt_id: 'a', sample: 0 }],
      'scores.jsonl line 1: column "reward" must be a finite number, but is missing',
    ],
    [
      'text for a number',
      [{ ...all[0], reward: '1' }],
      'scores.jsonl line 1: column "reward" must be a finite number, but is "1"',
    ],
    [
      'no prompt',
      [{ sample: 0, reward: 1 }],
      'scores.jsonl line 1: column "prompt_id" (or "id") is missing; the row has "sample", ' +
        '"reward"',
    ],
    [
      'no completion',
      [{ prompt_id: 'a', reward: 1 }],
      'scores.jsonl line 1: which completion of prompt "a" is meant? Give "sample" (its ' +
        'number) or "completion" (its text); the row has "prompt_id", "reward"',
    ],
    [
      'a second judge in some rows only',
      [{ ...all[0], reward_previous: 1 }, all[1]],
      'scores.jsonl line 2: column "reward_previous" must be a finite number, but is missing',
    ],
    [
      'a row that is a list',
      [[1]],
      'scores.jsonl line 1: the row is [1]; it must be an object with "prompt_id", ' +
        '"sample" or "completion", and "reward"',
    ],
  ])('with %s is refused by its row or prompt', (_, values, message) =>
    expect(() => join(...values)).toThrow(message),
  );
});

describe('a reward function', () => {
  it('may be asynchronous, and may return a typed array', async () => {
    expect(
      await callRewards(
        async (batch) =>
          Float64Array.from(batch, ({ completion: text }) => text.length) as unknown as number[],
        completions,
      ),
    ).toEqual(all.map((row) => ({ ...row, reward: 2 })));
  });
  it('must return numbers', async () => {
    await expect(callRewards(() => 'high' as unknown as number[], completions)).rejects.toThrow(
      'the reward function must return a list of numbers, but returned "high"',
    );
    await expect(
      callRewards(() => ['x'] as unknown as number[], completions.slice(0, 1)),
    ).rejects.toThrow(
      'the reward function gave "x" for sample 0 of prompt "a"; a reward is a finite number',
    );
  });
});

describe('externalSet', () => {
  const scores: ScoreRecord[] = completions.map(({ prompt_id, sample }, i) => ({
    prompt_id,
    sample,
    tokens: 2,
    logp_current: -i,
    logp_previous: -2 * i,
    logp_base: -3,
  }));
  it('ranks against the previous model by the reward that is named', () => {
    expect(
      externalSet(all, scores, { source: 'likelihood', by: 'previous' }).map(
        (r) => r.reward_previous,
      ),
    ).toEqual([-0, -1, -2, -3]);
    expect(
      externalSet(all, scores, { source: 'implicit', by: 'previous' }).map(
        (r) => r.reward_previous,
      ),
    ).toEqual([3, 1, -1, -3]);
  });
  it('without one it ranks against a second judge, else against itself', () => {
    expect(
      externalSet(
        all.map((r) => ({ ...r, reward_previous: 9 })),
        scores,
        undefined,
      )[0],
    ).toMatchObject({ reward_current: 1, reward_previous: 9 });
    expect(externalSet(all, scores, undefined)[0]).toMatchObject({
      reward_current: 1,
      reward_previous: 1,
    });
  });
  it('names a completion without scores', () =>
    expect(() => externalSet(all, scores.slice(1), { source: 'implicit', by: 'previous' })).toThrow(
      'sample 0 of prompt "a" has a reward but is missing from the scores',
    ));
});

describe('gold', () => {
  it('is 1 for the right answer and 0 for any other', () => {
    const said = ['It is 5. Answer: 4', 'Answer: 5', 'Answer: 5.0', 'no'].map((text, sample) =>
      completion('q', sample, text),
    );
    expect(goldRewards(said, [{ id: 'q', answer: '5' }]).map((r) => r.reward)).toEqual([
      0, 1, 1, 0,
    ]);
  });
  it('knows the labels of choices', () => {
    const choices = [
      { label: '1', text: 'ice' },
      { label: '2', text: 'fire' },
    ];
    expect(
      goldRewards(
        [completion('q', 0, 'Answer: 2'), completion('q', 1, 'Answer: 1')],
        [{ id: 'q', answer: '2', choices }],
      ).map((r) => r.reward),
    ).toEqual([1, 0]);
  });
  it('names a prompt without an answer', () =>
    expect(() => goldRewards(completions, [{ id: 'a', answer: '1' }])).toThrow(
      'prompt "b" has no known answer',
    ));
});

describe('a reward model', () => {
  const classifier = (
    numLabels: number,
    logits: number[],
    maxPositionEmbeddings = 64,
  ): Classifier & { asked: unknown[] } => {
    const asked: unknown[] = [];
    return {
      asked,
      name: 'rm',
      encode: (messages) => messages.map(({ content }) => content.length),
      model: {
        config: { numLabels, maxPositionEmbeddings },
        classify: async (request) => (asked.push(request), Float32Array.from(logits)),
      },
    };
  };
  it('with one label is its logit, of prompt and completion together', async () => {
    const judge = classifier(1, [1, -2, 3, 0.5]);
    expect(
      (await modelRewards(completions, judge, { label: null, maxNumBatchedTokens: 512 })).map(
        (r) => r.reward,
      ),
    ).toEqual([1, -2, 3, 0.5]);
    expect(judge.asked).toEqual([
      {
        sequences: [
          [1, 2],
          [1, 2],
          [1, 2],
          [1, 2],
        ],
        maxNumBatchedTokens: 512,
      },
    ]);
  });
  it('with more labels is the log-prob of the selected one', async () => {
    const [reward] = await modelRewards(completions.slice(0, 1), classifier(3, [1, 2, 3]), {
      label: 2,
      maxNumBatchedTokens: 512,
    });
    expect(reward!.reward).toBeCloseTo(
      Math.log(Math.exp(3) / (Math.exp(1) + Math.exp(2) + Math.exp(3))),
      12,
    );
    expect(labelReward([1000, 0], 0)).toBeCloseTo(0, 12);
  });
  it.each<[number, number | null, RegExp | undefined]>([
    [1, null, undefined],
    [1, 0, undefined],
    [2, 1, undefined],
    [0, null, /no classification head/],
    [2, null, /has 2 labels; set reward\.label/],
    [2, 2, /has 2 labels, so reward\.label must be below 2/],
    [1, 1, /has 1 label, so reward\.label must be below 1/],
  ])('%d labels and reward.label %j', (labels, label, problem) => {
    if (problem) expect(labelProblem(labels, label)).toMatch(problem);
    else expect(labelProblem(labels, label)).toBeUndefined();
  });
  it('names a completion that does not fit its context, or whose logit is NaN', async () => {
    await expect(
      modelRewards(completions, classifier(1, [], 1), { label: null, maxNumBatchedTokens: 512 }),
    ).rejects.toThrow(
      'sample 0 of prompt "a" is 2 tokens for the reward model rm, whose context holds 1',
    );
    await expect(
      modelRewards(completions, classifier(1, [0, NaN, 0, 0]), {
        label: null,
        maxNumBatchedTokens: 512,
      }),
    ).rejects.toThrow('the reward model rm gave NaN for sample 1 of prompt "a"');
  });
});
