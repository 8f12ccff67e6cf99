/** Rewards from outside and by a judge in whole runs on a tiny model. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  CompletionRecord,
  ExternalRewardRecord,
  GoldRecord,
  JudgementRecord,
  PairRecord,
  RankingRecord,
  ScoreRecord,
} from '../../src/data/records.js';
import { extractAnswer, isCorrect } from '../../src/evaluate/answer.js';
import type { RewardItem } from '../../src/reward/external.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const FIXED = ['rank.weighting=fixed'];
const SFT = ['sft.enabled=true', 'sft.count=4', 'sft.batch_size=2', 'sft.learning_rate=1.0e-3'];

describe('Oracle', () => {
  /**
   * The test writes gold answers itself: the tiny model's own completions for half of the prompts.
   */
  it(
    'pairs a right response with a wrong one, of each the first, and counts prompts without ' +
      'either',
    async () => {
      const first = await tinyRun(FIXED);
      const prompts = first.records<{ id: string; prompt: unknown }>('iteration-1/prompts.jsonl');
      const completions = first.records<CompletionRecord>('iteration-1/completions.jsonl');
      const rows = prompts.map(({ id, prompt }) => {
        const words = completions
          .filter((c) => c.prompt_id === id)
          .map((c) => extractAnswer(c.completion, { answer: 'word' }));
        return {
          id,
          prompt,
          answer: words.find((word) => word !== null && /^\p{L}+$/u.test(word)) ?? 'nothing',
        };
      });
      const source = join(temporaryFolder(), 'prompts.jsonl');
      writeFileSync(source, rows.map((row) => JSON.stringify(row)).join('\n'));
      const ran = await tinyRun([...FIXED, 'reward.source=gold', `prompts.source=${source}`]);
      const gold = new Map(
        ran.records<GoldRecord>('iteration-1/gold.jsonl').map((record) => [record.id, record]),
      );
      expect(gold.size).toBe(4);
      expect(ran.text('iteration-1/prompts.jsonl')).not.toContain('"answer"');
      const sampled = ran.records<CompletionRecord>('iteration-1/completions.jsonl');
      const right = (c: CompletionRecord) => isCorrect(gold.get(c.prompt_id)!, c.completion);
      for (const { prompt_id, sample, reward } of ran.records<ExternalRewardRecord>(
        'iteration-1/rewards.jsonl',
      )) {
        expect(reward).toBe(
          right(sampled.find((c) => c.prompt_id === prompt_id && c.sample === sample)!) ? 1 : 0,
        );
      }
      const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
      expect(pairs.length).toBeGreaterThan(0);
      for (const pair of pairs) {
        const of = sampled.filter((c) => c.prompt_id === pair.prompt_id);
        expect([pair.chosen_sample, pair.rejected_sample]).toEqual([
          of.find(right)!.sample,
          of.find((c) => !right(c))!.sample,
        ]);
      }
      const mixed = [...gold.keys()].filter(
        (id) => new Set(sampled.filter((c) => c.prompt_id === id).map(right)).size === 2,
      );
      expect(
        ran
          .records<RankingRecord>('iteration-1/rankings.jsonl')
          .filter((r) => r.skipped === 'all_equal'),
      ).toHaveLength(4 - mixed.length);
      // With one judge no agreement is reported.
      const summary = JSON.parse(ran.text('summary.json')) as {
        iterations: { iteration: { consistency: unknown } | null }[];
      };
      expect(summary.iterations.at(-1)!.iteration!.consistency).toBeNull();
    },
  );

  it('refuses prompts without answers before anything is loaded, naming one', async () => {
    const source = join(temporaryFolder(), 'prompts.jsonl');
    writeFileSync(
      source,
      '{"id": "a", "prompt": "x", "answer": "1"}\n{"id": "b", "prompt": "y"}\n',
    );
    await expect(
      tinyRun([...FIXED, 'reward.source=gold', `prompts.source=${source}`, 'prompts.count=2']),
    ).rejects.toThrow(
      /prompts\.jsonl: prompt "b" has no answer, and reward\.source gold compares with it/,
    );
  });
});

describe('a reward function', () => {
  it('gets all completions of several prompts at once; its numbers choose the pair', async () => {
    const seen: RewardItem[][] = [];
    const ran = await tinyRun([...FIXED, 'reward.source=function'], {
      rewards: async (batch) => {
        seen.push([...batch]);
        return batch.map(({ sample }) => [0, 2, 1][sample]!);
      },
    });
    expect(seen.map((batch) => batch.length)).toEqual([6, 6]);
    expect(
      seen.flat().map(({ prompt_id, sample, completion }) => [prompt_id, sample, completion]),
    ).toEqual(
      ran
        .records<CompletionRecord>('iteration-1/completions.jsonl')
        .map((c) => [c.prompt_id, c.sample, c.completion]),
    );
    expect(
      ran
        .records<PairRecord>('iteration-1/pairs.jsonl')
        .map((pair) => [pair.chosen_sample, pair.rejected_sample]),
    ).toEqual(Array(4).fill([1, 0]));
  });

  it('can be measured against the previous model', async () => {
    const ran = await tinyRun(
      [...SFT, 'reward.source=function', 'reward.against=likelihood', 'rank.weighting=dyn'],
      { rewards: (batch) => batch.map(({ sample }) => sample) },
    );
    const scores = ran.records<ScoreRecord>('iteration-1/scores.jsonl');
    for (const { prompt_id, reward_current, reward_previous } of ran.records<RankingRecord>(
      'iteration-1/rankings.jsonl',
    )) {
      expect(reward_current).toEqual([0, 1, 2]);
      expect(reward_previous).toEqual(
        scores.filter((s) => s.prompt_id === prompt_id).map((s) => s.logp_previous / s.tokens),
      );
    }
  });

  it.each<[string, () => number[], RegExp]>([
    [
      'too few',
      () => [1],
      /the reward function must give one number for each of 6 completions, but gave 1/,
    ],
    [
      'NaN',
      () => [1, 2, NaN, 4, 5, 6],
      /the reward function gave NaN for sample 2 of prompt "builtin-/,
    ],
    ['nothing', (() => undefined) as never, /return a list of numbers, but returned nothing/],
    ['a DataView', (() => new DataView(new ArrayBuffer(6))) as never, /return a list of numbers/],
  ])('that gives %s is named with its completion', async (_, rewards, message) => {
    await expect(tinyRun([...FIXED, 'reward.source=function'], { rewards })).rejects.toThrow(
      message,
    );
  });

  it('that tells no completions apart is named where no pair is left', async () => {
    const rewards = (batch: readonly RewardItem[]) => batch.map(() => 1);
    await expect(tinyRun([...FIXED, 'reward.source=function'], { rewards })).rejects.toMatchObject({
      code: 'ERR_NO_PAIRS',
      message: expect.stringContaining(
        'The reward function gave all completions of a prompt the same number',
      ),
    });
  });

  it('is given if and only if the recipe asks for it', async () => {
    await expect(tinyRun([...FIXED, 'reward.source=function'])).rejects.toThrow(
      'reward.source: function is for Node programs',
    );
    await expect(tinyRun([], { rewards: () => [] })).rejects.toThrow(
      'reward.source: is implicit, but run() was given a reward function',
    );
  });
});

describe('a scores file', () => {
  it('is waited for, and the same command goes on with it', async () => {
    const folder = temporaryFolder();
    const directory = join(folder, 'run');
    const file = join(folder, 'scores-1.jsonl');
    const settings = [
      ...FIXED,
      'reward.source=file',
      `reward.file=${join(folder, 'scores-{t}.jsonl')}`,
    ];
    await expect(tinyRun(settings, { directory })).rejects.toThrow(
      'Iteration 1 waits for rewards: score the completions in ' +
        `${directory}/iteration-1/completions.jsonl, write {"prompt_id", "sample", "reward"} ` +
        `for each to ${file}`,
    );
    const completions = readFileSync(join(directory, 'iteration-1/completions.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as CompletionRecord);
    writeFileSync(
      file,
      completions
        .map(({ prompt_id, sample }) => JSON.stringify({ prompt_id, sample, reward: -sample }))
        .join('\n'),
    );
    const ran = await tinyRun(settings, { directory });
    expect(
      ran
        .records<PairRecord>('iteration-1/pairs.jsonl')
        .map((pair) => [pair.chosen_sample, pair.rejected_sample]),
    ).toEqual(Array(4).fill([0, 2]));
  });
});

describe('LLM-as-a-judge', () => {
  it('asks both models, keeps every judgement, and skips what it cannot read', async () => {
    // A tiny random model says nothing that could be read: every judgement fails, every prompt is
    // skipped, and the run says why.
    const directory = join(temporaryFolder(), 'run');
    const settings = [
      ...SFT,
      'reward.source=judge',
      'reward.judgements=2',
      'reward.max_new_tokens=6',
    ];
    await expect(tinyRun(settings, { directory })).rejects.toThrow(
      'Iteration 1 has no preference pair: none of its 4 prompts got a best and a worst ' +
        'completion that differ (4 no judgement). Where a completion has no judgement with a ' +
        'score, its prompt has no ranking: set reward.reasons to false, raise ' +
        'reward.max_new_tokens or reward.judgements, or use a model that keeps to the format.',
    );
    const judgements = readFileSync(join(directory, 'iteration-1/judgements.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JudgementRecord);
    expect(judgements).toHaveLength(4 * 3 * 2 * 2);
    expect(
      new Set(
        judgements.map(
          ({ prompt_id, sample, judge, judgement }) =>
            `${prompt_id} ${sample} ${judge} ${judgement}`,
        ),
      ).size,
    ).toBe(48);
    expect(existsSync(join(directory, 'iteration-1/judgements.jsonl.parts'))).toBe(false);
  });
});
