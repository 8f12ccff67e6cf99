/**
 * Sequence-classification models compared with transformers, and the errors for calls that a
 * classifier or a language model does not support.
 */
import { afterEach, describe, expect, it } from '@jest/globals';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Model, type DType } from '../../src/engine/model.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const golden = join(import.meta.dirname, '../golden');
const models: Model[] = [];
async function load(path: string, dtype: DType = 'float32'): Promise<Model> {
  const model = await Model.load(path, { dtype });
  models.push(model);
  return model;
}
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.dispose()));
});

describe.each([
  ['classifier-llama', 3],
  ['classifier-qwen2', 1],
  ['classifier-qwen3', 2],
])('%s', (name, labels) => {
  const expected = JSON.parse(readFileSync(join(golden, name, 'expected.json'), 'utf8')) as {
    sequences: number[][];
    logits: number[][];
  };

  it.each(['float32', 'bfloat16'] as const)(
    'gives transformers’ logits in %s, packed or one by one',
    async (dtype) => {
      const model = await load(join(golden, name), dtype);
      expect(model.config.numLabels).toBe(labels);
      const wanted = expected.logits.flat();
      const scale = Math.max(...wanted.map(Math.abs));
      for (const maxNumBatchedTokens of [1, 10, 4096]) {
        const logits = await model.classify({ sequences: expected.sequences, maxNumBatchedTokens });
        expect(logits).toHaveLength(expected.sequences.length * labels);
        wanted.forEach((value, i) =>
          expect(Math.abs(logits[i]! - value)).toBeLessThanOrEqual(
            dtype === 'float32' ? 1e-3 : 0.05 * scale,
          ),
        );
      }
      expect(await model.classify({ sequences: [] })).toHaveLength(0);
    },
  );

  it('is saved and loaded again', async () => {
    const model = await load(join(golden, name));
    const saved = join(temporaryFolder(), 'saved');
    await model.save(saved);
    expect([...(await (await load(saved)).classify({ sequences: expected.sequences }))]).toEqual([
      ...(await model.classify({ sequences: expected.sequences })),
    ]);
  });
});

it('a classifier refuses what needs token probabilities', async () => {
  const model = await load(join(golden, 'classifier-llama'));
  const refused = {
    code: 'ERR_UNSUPPORTED',
    message: expect.stringContaining(
      'this is a sequence-classification model (LlamaForSequenceClassification)',
    ),
  };
  await expect(model.generate({ prompts: [{ tokens: [3] }] }).all()).rejects.toMatchObject(refused);
  await expect(
    model.score({ groups: [{ prompt: [3], completions: [[4]] }] }),
  ).rejects.toMatchObject(refused);
  await expect(model.logits([3])).rejects.toMatchObject(refused);
  await expect(model.trainer({ learningRate: 1, totalSteps: 1 })).rejects.toMatchObject(refused);
  await expect(model.addAdapter({ rank: 1, alpha: 1 })).rejects.toMatchObject(refused);
});

it('a language model refuses to classify, and either refuses what is no sequence', async () => {
  const causal = await load(tinyModel());
  expect(causal.config.numLabels).toBe(0);
  await expect(causal.classify({ sequences: [[3]] })).rejects.toMatchObject({
    code: 'ERR_UNSUPPORTED',
    message: expect.stringContaining('without a scoring head'),
  });
  const model = await load(join(golden, 'classifier-llama'));
  await expect(model.classify({ sequences: [[3], []] })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringContaining('sequence 1 is empty'),
  });
  await expect(model.classify({ sequences: [[64]] })).rejects.toThrow('from 0 to 63');
  await expect(
    model.classify({ sequences: [Array.from({ length: 200 }, () => 3)] }),
  ).rejects.toThrow('sequence 0');
  await expect(
    model.classify({ sequences: [[3]] }, { signal: AbortSignal.abort(new Error('enough')) }),
  ).rejects.toThrow('enough');
});

it('a checkpoint whose labels and weights differ is refused by the tensor’s name', async () => {
  const folder = join(temporaryFolder(), 'model');
  cpSync(join(golden, 'classifier-llama'), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, id2label: { 0: 'a' }, label2id: { a: 0 } }),
  );
  await expect(Model.load(folder)).rejects.toMatchObject({
    code: 'ERR_INVALID_FILE',
    message: expect.stringContaining(
      '"score.weight" has shape [3, 32], the config asks for [1, 32]',
    ),
  });
});
