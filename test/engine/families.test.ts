/**
 * Every model family compared with transformers in fp32, by golden values that
 * scripts/golden/families.py made. If TRANSFORMERS_PYTHON names a Python with transformers, models
 * that the engine saved are loaded with it, too.
 */
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { addon } from '../../src/engine/addon.js';
import { Model } from '../../src/engine/model.js';
import { maxDifference } from '../support/max-difference.js';
import { temporaryFolder } from '../support/tiny-model.js';

const root = join(import.meta.dirname, '../..');
const golden = join(root, 'test/golden/families');
const families = readdirSync(golden).sort();
const python = process.env['TRANSFORMERS_PYTHON'];

interface Expected {
  prompt: number[];
  chosen: number[];
  rejected: number[];
  logits: number[];
  greedy: number[];
  greedy_logprobs: number[];
  logprobs: number[][];
}

describe.each(families)('%s equals transformers', (family) => {
  const folder = join(golden, family);
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
  let model: Model;
  beforeAll(async () => {
    model = await Model.load(folder, { dtype: 'float32' });
  });
  afterAll(() => model.dispose());

  it('in all logits, to 1e-4', async () => {
    const logits = await model.logits([...expected.prompt, ...expected.chosen]);
    expect(maxDifference(logits, expected.logits)).toBeLessThanOrEqual(1e-4);
  });

  it('in a greedy continuation and its log-probs, to 1e-4', async () => {
    const [completion] = await model
      .generate({
        prompts: [{ tokens: expected.prompt }],
        temperature: 0,
        maxNewTokens: expected.greedy.length,
        stopIds: [],
      })
      .all();
    expect([...completion!.tokens]).toEqual(expected.greedy);
    expect(maxDifference(completion!.logprobs, expected.greedy_logprobs)).toBeLessThanOrEqual(1e-4);
  });

  it('in scored log-probs over a shared prompt, to 1e-4', async () => {
    const scores = await model.score({
      groups: [{ prompt: expected.prompt, completions: [expected.chosen, expected.rejected] }],
    });
    expect(maxDifference(scores.tokenLogprobs, expected.logprobs.flat())).toBeLessThanOrEqual(1e-4);
  });
});

describe('what the engine saves', () => {
  it('keeps the fraction of numbers that transformers takes with a fraction only', async () => {
    const model = await Model.load(join(golden, 'gemma2'), { dtype: 'float32' });
    const folder = join(temporaryFolder(), 'saved');
    await model.save(folder);
    await model.dispose();
    expect(readFileSync(join(folder, 'config.json'), 'utf8')).toContain(
      '"final_logit_softcapping": 4.0,',
    );
  });

  it('of a multimodal checkpoint is its text model, and a note says so', async () => {
    const note = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const source = join(golden, 'gemma3-vision');
    const folder = join(temporaryFolder(), 'text');
    const model = await Model.load(source, { dtype: 'float32' });
    expect(note.mock.calls).toEqual([
      [
        `${source}: Only the text part of this model is used; left out: ` +
          'multi_modal_projector (2 tensors), vision_tower (32 tensors).',
      ],
    ]);
    const logits = await model.logits([5, 6, 7]);
    await model.save(folder);
    await model.dispose();
    note.mockClear();
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({
      architectures: ['Gemma3ForCausalLM'],
      model_type: 'gemma3_text',
      vocab_size: 64,
    });
    const saved = await Model.load(folder, { dtype: 'float32' });
    expect(await saved.logits([5, 6, 7])).toEqual(logits);
    await saved.dispose();
    expect(note).not.toHaveBeenCalled();
    note.mockRestore();
  });

  (python ? it : it.skip)(
    "is loaded by transformers as the same model, with the source's config.json and with its own",
    async () => {
      const pairs: string[] = [];
      for (const family of families) {
        const folder = join(golden, family);
        const kept = join(temporaryFolder(), 'kept');
        const own = join(temporaryFolder(), 'own');
        const model = await Model.load(folder, { dtype: 'float32' });
        await model.save(kept, { dtype: 'float32' });
        await model.dispose();
        // A GGUF file has no config.json, so the engine's own is written.
        const native = new (addon().Model)();
        mkdirSync(own);
        copyFileSync(join(kept, 'model.safetensors'), join(own, 'model.safetensors'));
        writeFileSync(
          join(own, 'config.json'),
          (await native.load(folder, 'float32', 'cpu').promise).configJson,
        );
        await native.dispose().promise;
        pairs.push(kept, folder, own, folder);
      }
      const { stdout } = await promisify(execFile)(python!, [
        join(root, 'scripts/golden/families.py'),
        '--check',
        ...pairs,
      ]);
      expect(stdout.trim().split('\n')).toHaveLength(2 * families.length);
    },
    600_000,
  );

  if (!python)
    console.warn('not loaded by transformers: set TRANSFORMERS_PYTHON to a Python that has it');
});
