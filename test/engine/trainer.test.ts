/** Training in place: snapshots, saved files, and the source of the fp32 master weights. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import { Model, type DType } from '../../src/engine/model.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { chosen, pairs, prompt, rejected, sums } from '../support/tiny-pairs.js';

const folder = tinyModel({ seed: 5 });
const params = {
  learningRate: 1e-3,
  totalSteps: 10,
  schedule: 'constant',
  weightDecay: 0,
} as const;

const models: Model[] = [];
async function load(path = folder, dtype: DType = 'bfloat16'): Promise<Model> {
  const model = await Model.load(path, { dtype });
  models.push(model);
  return model;
}
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.dispose()));
});

describe.each(['float32', 'bfloat16'] as const)('a trainer in %s', (dtype) => {
  it('starts at margin 0 and widens it', async () => {
    const model = await load(folder, dtype);
    const batch = await pairs(model);
    const trainer = await model.trainer(params);
    const first = await trainer.preferenceStep(batch);
    expect(first).toMatchObject({ step: 1, learningRate: 1e-3 });
    expect(first.loss).toBeCloseTo(Math.LN2, dtype === 'float32' ? 5 : 2);
    let last = first;
    for (let i = 0; i < 5; i++) last = await trainer.preferenceStep(batch);
    expect(last.step).toBe(6);
    expect(last.rewardMargin).toBeGreaterThan(first.rewardMargin + 0.05);
    expect(last.rewardAccuracy).toBe(1);
  });

  it('leaves a snapshot as it was, taken before or during', async () => {
    const model = await load(folder, dtype);
    const batch = await pairs(model);
    const before = model.snapshot();
    const start = await sums(model);
    const bytes = engineInfo().weightBytes;
    const trainer = await model.trainer(params);
    expect(engineInfo().weightBytes).toBe(2 * bytes);
    await trainer.preferenceStep(batch);
    const during = model.snapshot();
    const middle = await sums(model);
    await trainer.preferenceStep(batch);
    expect(await sums(before)).toEqual(start);
    expect(await sums(during)).toEqual(middle);
    expect(await sums(model)).not.toEqual(middle);
    expect(middle).not.toEqual(start);
    await Promise.all([before.dispose(), during.dispose()]);
  });

  it('saves what it trained, and a state that goes on exactly', async () => {
    const [saved, state] = [
      join(temporaryFolder(), 'model'),
      join(temporaryFolder(), 'state.safetensors'),
    ];
    const model = await load(folder, dtype);
    const batch = await pairs(model);
    const trainer = await model.trainer(params);
    await trainer.preferenceStep(batch);
    await trainer.saveState(state);
    await model.save(saved, { dtype: 'float32' });
    await trainer.preferenceStep(batch);
    const ended = await sums(model);

    const resumed = await load(folder, dtype);
    const second = await resumed.trainer(params);
    await second.loadState(state);
    expect(await sums(await load(saved, dtype))).toEqual(await sums(resumed));
    expect((await second.preferenceStep(batch)).step).toBe(2);
    expect(await sums(resumed)).toEqual(ended);
  });

  it('may be followed by another, and ends with dispose()', async () => {
    const model = await load(folder, dtype);
    const batch = await pairs(model);
    const trainer = await model.trainer(params);
    await trainer.preferenceStep(batch);
    const trained = await sums(model);
    await trainer.dispose();
    await trainer.dispose();
    await expect(trainer.preferenceStep(batch)).rejects.toMatchObject({
      code: 'ERR_DISPOSED',
      message: expect.stringContaining('trainer'),
    });
    expect(await sums(model)).toEqual(trained);
    const next = await model.trainer(params);
    await expect(trainer.sftStep([{ prompt, completion: chosen }])).rejects.toMatchObject({
      code: 'ERR_DISPOSED',
    });
    expect((await next.sftStep([{ prompt, completion: chosen }])).step).toBe(1);
  });
});

describe('fp32 masters of a bfloat16 model', () => {
  /** A step so small that rounding to bfloat16 would lose it. */
  const small = { ...params, learningRate: 1e-6 };

  it('come from the checkpoint: saved untrained, they are its values', async () => {
    const saved = join(temporaryFolder(), 'model');
    const model = await load();
    await model.trainer(small);
    await model.save(saved, { dtype: 'float32' });
    expect([...(await (await load(saved, 'float32')).logits(prompt))]).toEqual([
      ...(await (await load(folder, 'float32')).logits(prompt)),
    ]);
  });

  it('lose nothing between trainers that save in between, as a reload would not', async () => {
    const [one, two, three] = ['one', 'two', 'three'].map((name) =>
      join(temporaryFolder(), name),
    ) as [string, string, string];
    const model = await load();
    const batch = await pairs(model);
    for (const target of [one, two]) {
      const trainer = await model.trainer(small);
      await trainer.preferenceStep(batch);
      await model.save(target, { dtype: 'float32' });
      await trainer.dispose();
    }
    const reloaded = await load(one);
    const trainer = await reloaded.trainer(small);
    await trainer.preferenceStep(batch);
    await reloaded.save(three, { dtype: 'float32' });
    const values = async (path: string) => [
      ...(await (await load(path, 'float32')).logits(prompt)),
    ];
    expect(await values(three)).toEqual(await values(two));
    expect(await values(two)).not.toEqual(await values(one));
  });

  it('are refused if the checkpoint is missing or another one', async () => {
    const path = tinyModel({ seed: 6 });
    const model = await load(path);
    writeFileSync(join(path, 'model.safetensors'), '');
    await expect(model.trainer(params)).rejects.toMatchObject({ name: 'CreamError' });
    rmSync(path, { recursive: true });
    await expect(model.trainer(params)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect((await model.logits([1])).length).toBe(97);
  });
});

describe('a step that fails', () => {
  it('changes nothing when aborted', async () => {
    const model = await load();
    const batch = await pairs(model);
    const trainer = await model.trainer(params);
    const before = await sums(model);
    const controller = new AbortController();
    const step = trainer.preferenceStep(
      Array.from({ length: 4000 }, () => batch[0]!),
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(), 20);
    await expect(step).rejects.toMatchObject({ name: 'AbortError' });
    expect(await sums(model)).toEqual(before);
    expect((await trainer.preferenceStep(batch)).step).toBe(1);
  });
});

describe('the losses', () => {
  it.each([
    ['dpo', Math.LN2],
    ['ipo', 25],
    ['kto', 0.5],
    ['robust', Math.LN2],
  ] as const)('%s starts at %d where the policy is its reference', async (loss, value) => {
    const model = await load(folder, 'float32');
    const trainer = await model.trainer({ ...params, loss });
    const [pair] = await pairs(model);
    const step = await trainer.preferenceStep([{ ...pair!, klBaseline: 0 }]);
    expect(step.loss / value).toBeCloseTo(1, 4);
  });

  it('simpo needs no reference, kto needs its KL estimate', async () => {
    const model = await load(folder, 'float32');
    const [chosenSum, rejectedSum] = await sums(model);
    const simpo = await model.trainer({ ...params, loss: 'simpo', beta: 2, simpoGamma: 1 });
    const step = await simpo.preferenceStep([{ prompt, chosen, rejected, weight: 1 }]);
    const margin = 2 * (chosenSum! / chosen.length - rejectedSum! / rejected.length);
    expect(step.rewardMargin).toBeCloseTo(margin, 4);
    expect(step.loss).toBeCloseTo(Math.log1p(Math.exp(1 - margin)), 4);
    await simpo.dispose();
    const kto = await model.trainer({ ...params, loss: 'kto' });
    await expect(kto.preferenceStep(await pairs(model))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('klBaseline'),
    });
    await kto.dispose();
    const dpo = await model.trainer(params);
    await expect(
      dpo.preferenceStep([{ prompt, chosen, rejected, weight: 1 }]),
    ).rejects.toMatchObject({ message: expect.stringContaining('referenceChosen') });
  });

  it('a state of another loss is refused', async () => {
    const state = join(temporaryFolder(), 'state.safetensors');
    const model = await load();
    const trainer = await model.trainer(params);
    await trainer.saveState(state);
    await trainer.dispose();
    const other = await model.trainer({ ...params, loss: 'ipo' });
    await expect(other.loadState(state)).rejects.toMatchObject({
      message: expect.stringContaining('was saved with loss dpo, this trainer has ipo'),
    });
  });
});

describe('a cancel', () => {
  const stop = (): AbortSignal => {
    const controller = new AbortController();
    // Once the job is queued: it is cancelled before it begins or while it works.
    queueMicrotask(() => controller.abort(new Error('enough')));
    return controller.signal;
  };

  it('of a trainer that is being made leaves the model as it was', async () => {
    const model = await load(tinyModel({ seed: 5, hiddenSize: 256, vocabSize: 4000 }));
    const before = await model.logits(prompt);
    const made = await model.trainer(params, { signal: stop() }).catch((e: Error) => e);
    if (made instanceof Error) expect(made.message).toBe('enough');
    else await made.dispose(); // made before it heard
    expect(await model.logits(prompt)).toEqual(before);
    await (await model.trainer(params)).dispose();
  });

  it('of a state that is being read changes nothing', async () => {
    const model = await load();
    const trainer = await model.trainer(params);
    const file = join(temporaryFolder(), 'state.safetensors');
    await trainer.saveState(file);
    await trainer.preferenceStep(await pairs(model));
    const before = await model.logits(prompt);
    const loaded = await trainer.loadState(file, { signal: stop() }).catch((e: unknown) => e);
    // The whole state, or nothing of it.
    if (loaded !== undefined) expect(await model.logits(prompt)).toEqual(before);
    await trainer.loadState(file);
    expect(await model.logits(prompt)).not.toEqual(before);
  });
});
