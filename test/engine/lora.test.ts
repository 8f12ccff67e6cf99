/** Adapters in the engine: PEFT's golden values, the shared base, and files in both directions. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import { Model, type AdapterParams, type DType } from '../../src/engine/model.js';
import { maxDifference } from '../support/max-difference.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { chosen, pairs, prompt, sums } from '../support/tiny-pairs.js';

const root = join(import.meta.dirname, '../..');
const golden = join(root, 'test/golden');
const base = join(golden, 'tiny-gqa-untied');
const read = (...path: string[]): unknown =>
  JSON.parse(readFileSync(join(golden, ...path), 'utf8'));

const folder = tinyModel({ seed: 5 });
const params = {
  learningRate: 1e-2,
  totalSteps: 10,
  schedule: 'constant',
  weightDecay: 0,
} as const;
const lora: AdapterParams = { rank: 4, alpha: 8, seed: 3 };

const models: Model[] = [];
function kept(model: Model): Model {
  models.push(model);
  return model;
}
const load = async (path = folder, dtype: DType = 'bfloat16', adapter?: string) =>
  kept(await Model.load(path, { dtype, ...(adapter !== undefined && { adapter }) }));
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.dispose()));
});

async function train(model: Model, steps = 3): Promise<void> {
  const batch = await pairs(model);
  const trainer = await model.trainer(params);
  for (let i = 0; i < steps; i++) await trainer.preferenceStep(batch);
  await trainer.dispose();
}

describe.each(['all', 'rslora'])('PEFT’s adapter %s', (name) => {
  const expected = read('lora', name, 'expected.json') as Record<
    'tokens' | 'logits' | 'merged',
    number[]
  >;
  const config = read('lora', name, 'adapter_config.json') as {
    r: number;
    lora_alpha: number;
    use_rslora: boolean;
    target_modules: string[];
  };

  it('gives its logits, loaded, saved and loaded, and merged', async () => {
    const model = await load(base, 'float32', join(golden, 'lora', name));
    expect(model.adapter).toMatchObject({
      rank: config.r,
      alpha: config.lora_alpha,
      dropout: 0,
      useRslora: config.use_rslora,
    });
    expect([...model.adapter!.targetModules].sort()).toEqual(config.target_modules);
    expect(maxDifference(await model.logits(expected.tokens), expected.logits)).toBeLessThanOrEqual(
      1e-3,
    );

    const saved = join(temporaryFolder(), 'adapter');
    await model.saveAdapter(saved, { baseModel: 'some/base' });
    expect(JSON.parse(readFileSync(join(saved, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'LORA',
      base_model_name_or_path: 'some/base',
      r: config.r,
      use_rslora: config.use_rslora,
    });
    expect([...(await (await load(base, 'float32', saved)).logits(expected.tokens))]).toEqual([
      ...(await model.logits(expected.tokens)),
    ]);

    await model.merge();
    expect(model.adapter).toBeNull();
    expect(maxDifference(await model.logits(expected.tokens), expected.merged)).toBeLessThanOrEqual(
      1e-3,
    );
    const full = join(temporaryFolder(), 'model');
    await model.save(full);
    expect([...(await (await load(full, 'float32')).logits(expected.tokens))]).toEqual([
      ...(await model.logits(expected.tokens)),
    ]);
  });
});

// TRANSFORMERS_PYTHON=/path/to/python names a Python that has transformers and peft. Without it the
// test is skipped and reported as skipped.
const python = process.env['TRANSFORMERS_PYTHON'];
(python === undefined ? it.skip : it)('PEFT loads what we saved, with our logits', async () => {
  const model = await load(base, 'float32');
  await model.addAdapter({
    rank: 3,
    alpha: 5,
    useRslora: true,
    targetModules: ['down_proj', 'q_proj', 'v_proj', 'gate_proj'],
  });
  const trainer = await model.trainer(params);
  for (let i = 0; i < 5; i++)
    await trainer.sftStep([{ prompt: [3, 4, 5], completion: [9, 8, 7, 6] }]);
  const saved = join(temporaryFolder(), 'adapter');
  await model.saveAdapter(saved);
  const tokens = [3, 4, 5, 9, 8, 7, 6, 30, 31];
  const logits = JSON.stringify([...(await model.logits(tokens))]);
  const answer = execFileSync(
    python!,
    [join(root, 'scripts/golden/lora.py'), 'check', saved, base, JSON.stringify(tokens), logits],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const said = JSON.parse(answer.trim().split('\n').at(-1)!) as { difference: number };
  expect(said.difference).toBeLessThanOrEqual(1e-4);
});

describe.each(['float32', 'bfloat16'] as const)('an adapter in %s', (dtype) => {
  it('starts where the base is, learns, and leaves base and snapshots as they were', async () => {
    const model = await load(folder, dtype);
    const start = await sums(model);
    const bytes = engineInfo().weightBytes;
    await model.addAdapter(lora);
    expect(model.adapter).toMatchObject({ rank: 4, alpha: 8, dropout: 0, useRslora: false });
    expect(await sums(model)).toEqual(start);
    const adapter = engineInfo().weightBytes - bytes;
    expect(adapter).toBeGreaterThan(0);

    const before = kept(model.snapshot());
    await train(model);
    await sums(before);
    expect(engineInfo().weightBytes).toBe(bytes + 2 * adapter);
    const bare = kept(model.snapshot({ adapter: false }));
    expect(bare.adapter).toBeNull();
    const after = kept(model.snapshot());
    expect(await sums(bare)).toEqual(start);
    expect(await sums(before)).toEqual(start);
    expect(await sums(after)).toEqual(await sums(model));
    expect(await sums(model)).not.toEqual(start);
    expect(engineInfo().weightBytes).toBe(bytes + 2 * adapter);
  });

  it('counts its base once, also when a snapshot of the base trains on its own', async () => {
    const model = await load(folder, dtype);
    const start = await sums(model);
    const bytes = engineInfo().weightBytes;
    await model.addAdapter(lora);
    const bare = kept(model.snapshot({ adapter: false }));
    await sums(bare);
    const shared = engineInfo().weightBytes;
    await train(bare, 1);
    expect(engineInfo().weightBytes).toBe(shared + bytes);
    expect(await sums(model)).toEqual(start);
    expect(await sums(bare)).not.toEqual(start);
  });

  it('scores its samples to the bit where the kernels are batch-invariant', async () => {
    // The fast attention kernel requires a head dimension of 16.
    const model = await load(tinyModel({ seed: 5, hiddenSize: 64 }), dtype);
    await model.addAdapter({ ...lora, alpha: 7 });
    await train(model, 5);
    const completions = await model
      .generate({
        prompts: [
          { tokens: prompt, samples: 6 },
          { tokens: [9], samples: 3 },
        ],
        maxNewTokens: 12,
        seed: 4,
      })
      .all();
    const scores = await model.score({
      groups: [
        { prompt, completions: completions.slice(0, 6).map((c) => c.tokens) },
        { prompt: [9], completions: completions.slice(6).map((c) => c.tokens) },
      ],
    });
    const sampled = completions.flatMap((completion) => [...completion.logprobs]);
    if (engineInfo().cpu.features.includes('avx2'))
      expect([...scores.tokenLogprobs]).toEqual(sampled);
    else
      expect(maxDifference(scores.tokenLogprobs, sampled)).toBeLessThan(
        dtype === 'float32' ? 1e-4 : 0.1,
      );
  });

  it('resumes exactly from a saved state, dropout included, but not from another’s', async () => {
    const withDropout = { ...lora, dropout: 0.2 };
    const states = temporaryFolder();
    const run = async (steps: number, from?: string, to?: string): Promise<number[]> => {
      const model = await load(folder, dtype);
      await model.addAdapter(withDropout);
      const trainer = await model.trainer({ ...params, dropoutSeed: 9 });
      if (from !== undefined) await trainer.loadState(from);
      for (let i = 0; i < steps; i++) await trainer.sftStep([{ prompt, completion: chosen }]);
      if (to !== undefined) await trainer.saveState(to);
      return sums(model);
    };
    const state = join(states, 'state.safetensors');
    await run(2, undefined, state);
    expect(await run(2, state)).toEqual(await run(4));

    const other = await load(folder, dtype);
    await other.addAdapter({ ...withDropout, rank: 5 });
    await expect(
      (await other.trainer({ ...params, dropoutSeed: 9 })).loadState(state),
    ).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('lora_rank 4, this trainer has 5'),
    });
    const full = await load(folder, dtype);
    await expect((await full.trainer(params)).loadState(state)).rejects.toMatchObject({
      message: expect.stringContaining('lora_rank 4, this trainer has 0'),
    });
  });

  it('merges into weights that then train and save as a full model', async () => {
    const model = await load(folder, dtype);
    await model.addAdapter(lora);
    await train(model);
    const adapted = await sums(model);
    const twin = kept(model.snapshot());
    await model.merge();
    expect(await sums(twin)).toEqual(adapted);
    const merged = await sums(model);
    expect(maxDifference(merged, adapted)).toBeLessThan(dtype === 'float32' ? 1e-3 : 0.5);
    const saved = join(temporaryFolder(), 'model');
    await model.save(saved);
    expect(await sums(await load(saved, dtype))).toEqual(merged);
    await train(model, 1);
    expect(await sums(model)).not.toEqual(merged);
  });
});

describe('a model with an adapter refuses', () => {
  it('a second one, a full save, and changes while it trains', async () => {
    const model = await load();
    await expect(model.saveAdapter(join(temporaryFolder(), 'a'))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('no adapter'),
    });
    await expect(model.merge()).rejects.toThrow('no adapter');
    await model.addAdapter(lora);
    await expect(model.addAdapter(lora)).rejects.toThrow('already');
    await expect(model.save(join(temporaryFolder(), 'm'))).rejects.toThrow('saveAdapter()');
    const trainer = await model.trainer(params);
    await expect(model.merge()).rejects.toThrow('dispose of it first');
    await expect(model.loadAdapter(join(golden, 'lora/all'))).rejects.toThrow(
      'dispose of it first',
    );
    await trainer.dispose();
    const merging = model.merge();
    expect(() => model.snapshot()).toThrow('being changed');
    await merging;
  });

  it.each([
    [{ rank: 0, alpha: 1 }, 'rank must be an integer from 1'],
    [{ rank: 2, alpha: 0 }, 'alpha must be a finite number above 0'],
    [{ rank: 2, alpha: 1, dropout: 1 }, 'dropout'],
    [{ rank: 2, alpha: 1, targetModules: [] }, 'targetModules is empty'],
    [{ rank: 2, alpha: 1, targetModules: ['qkv_proj'] }, 'no module "qkv_proj"'],
    [{ rank: 2, alpha: 1, layers: 3 } as unknown as AdapterParams, 'no option "layers"'],
  ])('%j', async (wrong: AdapterParams, sentence: string) => {
    const model = await load();
    await expect(model.addAdapter(wrong)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining(sentence),
    });
    expect(model.adapter).toBeNull();
  });

  it('an adapter of another base, of another kind, or that is not there', async () => {
    const other = load(folder, 'float32', join(golden, 'lora/all'));
    await expect(other).rejects.toMatchObject({
      code: 'ERR_INVALID_FILE',
      message: expect.stringMatching(
        /k_proj\.lora_B\.weight" has shape \[8, 4\], this base model asks for \[16, 4\]/,
      ),
    });
    const dora = join(temporaryFolder(), 'dora');
    cpSync(join(golden, 'lora/all'), dora, { recursive: true });
    writeFileSync(
      join(dora, 'adapter_config.json'),
      JSON.stringify({
        ...(read('lora', 'all', 'adapter_config.json') as Record<string, unknown>),
        use_dora: true,
      }),
    );
    const model = await load(base, 'float32', join(golden, 'lora/all'));
    const before = await model.logits([3, 4]);
    await expect(model.loadAdapter(dora)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('use_dora is set'),
    });
    await expect(model.loadAdapter('/nowhere')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect([...(await model.logits([3, 4]))]).toEqual([...before]);
    await model.loadAdapter(join(golden, 'lora/rslora'));
    expect(model.adapter!.rank).toBe(3);
  });
});

describe('the KL penalty', () => {
  it('pulls the policy back to the base, and its estimate is reported', async () => {
    const margin = async (klCoefficient: number) => {
      const model = await load(folder, 'float32');
      const batch = await pairs(model);
      const trainer = await model.trainer({ ...params, learningRate: 1e-3, klCoefficient });
      let metrics = await trainer.preferenceStep(
        batch.map((pair) => ({
          ...pair,
          baseChosen: pair.referenceChosen,
          baseRejected: pair.referenceRejected,
        })),
      );
      if (klCoefficient > 0) expect(metrics.kl).toBeCloseTo(0, 6);
      else expect(metrics).not.toHaveProperty('kl');
      for (let i = 0; i < 8; i++)
        metrics = await trainer.preferenceStep(
          batch.map((pair) => ({
            ...pair,
            baseChosen: pair.referenceChosen,
            baseRejected: pair.referenceRejected,
          })),
        );
      if (klCoefficient > 0) {
        // loss = DPO loss of the pair + klCoefficient · KL estimate
        const pair = Math.log1p(Math.exp(-metrics.rewardMargin));
        expect(metrics.loss).toBeCloseTo(pair + klCoefficient * metrics.kl!, 5);
        expect(metrics.kl).toBeCloseTo(
          ((metrics.rewardChosen / 0.1) ** 2 + (metrics.rewardRejected / 0.1) ** 2) / 4,
          4,
        );
      }
      return metrics.rewardMargin;
    };
    const [free, bound] = [await margin(0), await margin(1)];
    expect(free).toBeGreaterThan(0.1);
    expect(bound).toBeLessThan(free / 2);
  });

  it('asks for the base’s log-probs', async () => {
    const model = await load();
    const batch = await pairs(model);
    const trainer = await model.trainer({ ...params, klCoefficient: 0.1 });
    await expect(trainer.preferenceStep(batch)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('pair 0: baseChosen'),
    });
    await expect(model.trainer({ ...params, klCoefficient: -1 })).rejects.toThrow('klCoefficient');
  });
});
