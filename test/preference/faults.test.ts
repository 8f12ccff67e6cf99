/** Known faults of CREAM's official code, each with a test that fails if it is repeated here. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompletionRecord, RewardRecord, ScoreRecord } from '../../src/data/records.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { topOrder } from '../../src/preference/consistency.js';
import { prefer } from '../../src/preference/prefer.js';
import { Slices } from '../../src/lm/slices.js';
import { encodeDemonstration } from '../../src/run/stages/sft.js';
import { tinyModel } from '../support/tiny-model.js';
import { generator } from './generator.js';

interface Drawn {
  rewards: RewardRecord[];
  scores: ScoreRecord[];
  completions: CompletionRecord[];
}

/** `count` prompts with random rewards; some have equal rewards for all completions. */
function draw(seed: number, count: number): Drawn {
  const g = generator(seed);
  const drawn: Drawn = { rewards: [], scores: [], completions: [] };
  for (let p = 0; p < count; p++) {
    const skipped = g.integer(3) === 0;
    const prompt_id = `p${p}`;
    for (const sample of [0, 1, 2, 3]) {
      drawn.rewards.push({
        prompt_id,
        sample,
        reward_current: skipped ? 1 : g.integer(1000),
        reward_previous: g.integer(1000),
      });
      drawn.scores.push({
        prompt_id,
        sample,
        tokens: 1,
        logp_current: -1,
        logp_previous: -1,
        logp_base: -1,
      });
      drawn.completions.push({
        prompt_id,
        sample,
        prompt: [{ role: 'user', content: prompt_id }],
        completion: `${sample}`,
        prompt_token_ids: [1],
        token_ids: [1],
        logprob: -1,
        finish_reason: 'eos',
      });
    }
  }
  return drawn;
}

const only = ({ rewards, scores, completions }: Drawn, id: string): Drawn => ({
  rewards: rewards.filter((r) => r.prompt_id === id),
  scores: scores.filter((r) => r.prompt_id === id),
  completions: completions.filter((r) => r.prompt_id === id),
});

describe('official code, cal_consistency.py', () => {
  it(
    'zips filtered consistencies with unfiltered prompts; here a prompt has the C it has ' +
      'alone, whatever is skipped around it',
    () => {
      let skipped = 0;
      for (let seed = 0; seed < 40; seed++) {
        const drawn = draw(seed, 12);
        const { rankings, pairs } = prefer({ ...drawn, weighting: { method: 'dyn' } });
        skipped += rankings.length - pairs.length;
        for (const pair of pairs)
          expect(pair.weight).toBe(
            prefer({ ...only(drawn, pair.prompt_id), weighting: { method: 'dyn' } }).pairs[0]!
              .weight,
          );
      }
      expect(skipped).toBeGreaterThan(50);
    },
  );

  it(
    'compares the ranks of the first and last listed response for TopOrder; here the order ' +
      'of the list means nothing',
    () => {
      const g = generator(5);
      for (let i = 0; i < 300; i++) {
        const n = 2 + g.integer(6);
        const x = g.permutation(n);
        const y = g.permutation(n);
        const order = g.permutation(n);
        const expected =
          x.indexOf(n - 1) === y.indexOf(n - 1) && x.indexOf(0) === y.indexOf(0) ? 1 : 0;
        expect(topOrder(x, y)).toBe(expected);
        expect(
          topOrder(
            order.map((k) => x[k]!),
            order.map((k) => y[k]!),
          ),
        ).toBe(expected);
      }
      // The first and the last keep their ranks; the best and the worst swap places.
      expect(topOrder([2, 3, 1, 2.5], [2, 1, 3, 2.5])).toBe(0);
    },
  );

  it('takes stdev of the consistencies and fails below two prompts; here one is enough', () => {
    const one = only(draw(1, 12), 'p0');
    for (const weighting of ['avg', 'dyn'] as const) {
      const { pairs, summary } = prefer({ ...one, weighting: { method: weighting } });
      expect(pairs).toHaveLength(1);
      expect(pairs[0]!.weight).toBe(summary.mean_consistency);
    }
  });
});

describe('official code, training', () => {
  let language: LanguageModel;
  beforeAll(async () => {
    // As in many tokenizers, the padding token is the end-of-turn token.
    const folder = tinyModel({ tokenizer: true });
    const file = join(folder, 'tokenizer_config.json');
    writeFileSync(
      file,
      JSON.stringify({
        ...(JSON.parse(readFileSync(file, 'utf8')) as object),
        pad_token: '<|im_end|>',
      }),
    );
    language = await loadModel(folder, { dtype: 'float32' });
  });
  afterAll(() => language.dispose());

  it(
    'masks pad tokens, and with them the end of turn where both are one; here its label ' +
      'counts',
    async () => {
      const { prompt, completion } = await encodeDemonstration(
        {
          id: 'd',
          prompt: [{ role: 'user', content: 'Q' }],
          completion: [{ role: 'assistant', content: 'A' }],
        },
        language,
        new Slices(),
      );
      const end = completion.at(-1)!;
      expect(language.tokenizer.decode([end])).toBe('<|im_end|>');
      // The loss of a demonstration is −log π of all of its tokens, the last one included.
      const { sums } = await language.model.score({
        groups: [{ prompt, completions: [completion] }],
      });
      const { sums: without } = await language.model.score({
        groups: [{ prompt, completions: [completion.slice(0, -1)] }],
      });
      expect(sums[0]!).toBeLessThan(without[0]! - 0.1);
      const trainer = await language.model.trainer({
        learningRate: 1e-2,
        totalSteps: 10,
        schedule: 'constant',
        weightDecay: 0,
      });
      const { loss } = await trainer.sftStep([{ prompt, completion }]);
      expect(loss).toBeCloseTo(-sums[0]! / completion.length, 3);
      for (let step = 0; step < 9; step++) await trainer.sftStep([{ prompt, completion }]);
      await trainer.dispose();
      // Training raises the probability of the end of turn after the completion.
      const ending = async () =>
        (
          await language.model.score({
            groups: [{ prompt: [...prompt, ...completion.slice(0, -1)], completions: [[end]] }],
          })
        ).sums[0]!;
      expect(await ending()).toBeGreaterThan(sums[0]! - without[0]! + 0.5);
    },
  );

  it(
    'the same for pairs: an end of turn that only the chosen one has makes it a different ' +
      'sequence',
    async () => {
      const prompt = await language.encodePrompt([{ role: 'user', content: 'Q' }]);
      const [chosen, rejected] = [
        await language.encodeCompletion('A'),
        (await language.encodeCompletion('A')).slice(0, -1),
      ];
      const { sums } = await language.model.score({
        groups: [{ prompt, completions: [chosen, rejected] }],
      });
      const trainer = await language.model.trainer({
        learningRate: 1e-2,
        totalSteps: 3,
        schedule: 'constant',
      });
      const step = () =>
        trainer.preferenceStep([
          {
            prompt,
            chosen,
            rejected,
            referenceChosen: sums[0]!,
            referenceRejected: sums[1]!,
            weight: 1,
          },
        ]);
      expect((await step()).rewardMargin).toBeCloseTo(0, 3);
      expect((await step()).rewardMargin).toBeGreaterThan(0.001);
      await trainer.dispose();
    },
  );
});
