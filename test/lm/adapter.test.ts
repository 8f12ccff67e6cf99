/** Adapters by name: a PEFT folder is loaded with its base, saved and loaded again. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { loadModel, type LanguageModel, type LoadOptions } from '../../src/lm/language-model.js';
import { modelDigest } from '../../src/models/resolve.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const base = tinyModel({ tokenizer: true, seed: 4 });
const open: LanguageModel[] = [];
async function load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await loadModel(name, { dtype: 'float32', ...options });
  open.push(lm);
  return lm;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((lm) => lm.dispose()));
});

/** Trains an adapter on `base` and saves it. */
async function adapterFolder(): Promise<{ folder: string; scores: number[] }> {
  const lm = await load(base);
  await lm.model.addAdapter({
    rank: 2,
    alpha: 4,
    dropout: 0.1,
    targetModules: ['q_proj', 'down_proj'],
  });
  const trainer = await lm.model.trainer({ learningRate: 1e-2, totalSteps: 4 });
  for (let i = 0; i < 4; i++)
    await trainer.sftStep([
      {
        prompt: await lm.encodePrompt([{ role: 'user', content: 'hi' }]),
        completion: await lm.encodeCompletion('yes'),
      },
    ]);
  const folder = join(temporaryFolder(), 'adapter');
  await lm.save(folder);
  return { folder, scores: await lm.score('hi', ['yes', 'no']) };
}
const edit = (folder: string, change: Record<string, unknown>): void => {
  const file = join(folder, 'adapter_config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
};

describe('an adapter', () => {
  it('is saved as by PEFT, with the tokenizer, and loads with the base that it names', async () => {
    const { folder, scores } = await adapterFolder();
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))).toMatchObject({
      base_model_name_or_path: base,
      r: 2,
      lora_alpha: 4,
      lora_dropout: 0.1,
      target_modules: ['q_proj', 'down_proj'],
    });
    for (const name of ['config.json', 'model.safetensors'])
      expect(existsSync(join(folder, name))).toBe(false);
    const lm = await load(folder);
    expect(lm.model.adapter).toMatchObject({ rank: 2, alpha: 4, dropout: 0.1 });
    expect(lm.source).toMatchObject({ path: folder, base: { path: base } });
    expect(await lm.score('hi', ['yes', 'no'])).toEqual(scores);
    expect(await (await load(base)).score('hi', ['yes', 'no'])).not.toEqual(scores);
    expect(await modelDigest(lm.source)).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await modelDigest(lm.source)).not.toBe(await modelDigest(lm.source.base!));

    const again = join(temporaryFolder(), 'again');
    await lm.save(again);
    expect(readFileSync(join(again, 'adapter_model.safetensors'))).toEqual(
      readFileSync(join(folder, 'adapter_model.safetensors')),
    );
    await lm.model.merge();
    const full = join(temporaryFolder(), 'full');
    await lm.save(full);
    const merged = await (await load(full)).score('hi', ['yes', 'no']);
    merged.forEach((score, i) => expect(score).toBeCloseTo(scores[i]!, 3));
  });

  it('accepts another base, and its own tokenizer or that of the base', async () => {
    const { folder, scores } = await adapterFolder();
    const moved = join(temporaryFolder(), 'moved');
    cpSync(base, moved, { recursive: true });
    edit(folder, { base_model_name_or_path: '/nowhere/base' });
    await expect(load(folder)).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining('names the base model "/nowhere/base"'),
    });
    expect(await (await load(folder, { base: moved })).score('hi', ['yes', 'no'])).toEqual(scores);

    const beside = join(dirname(moved), 'adapter');
    cpSync(folder, beside, { recursive: true });
    edit(beside, { base_model_name_or_path: `../${basename(moved)}` });
    rmSync(join(beside, 'tokenizer.json'));
    expect(await (await load(beside)).score('hi', ['yes', 'no'])).toEqual(scores);
  });

  it('says what is wrong with its base or its files', async () => {
    const { folder } = await adapterFolder();
    edit(folder, { base_model_name_or_path: null });
    await expect(load(folder)).rejects.toMatchObject({
      code: 'ERR_INVALID_FILE',
      message: expect.stringContaining('no base_model_name_or_path'),
    });
    await expect(load(base, { base })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('takes no base'),
    });
    await expect(load(folder, { base: folder })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('an adapter itself'),
    });
    await expect(
      load(folder, { base: tinyModel({ tokenizer: true, hiddenSize: 64 }) }),
    ).rejects.toMatchObject({
      code: 'ERR_INVALID_FILE',
      message: expect.stringContaining('this base model asks for'),
    });
    renameSync(join(folder, 'adapter_model.safetensors'), join(folder, 'adapter_model.bin'));
    await expect(load(folder, { base })).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
      message: expect.stringContaining('pickle'),
    });
  });
});

describe('a save', () => {
  it('onto a file or a folder with the other kind of model is refused in a sentence', async () => {
    const lm = await load(base);
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, 'something');
    await expect(lm.save(file)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: `The model cannot be saved to ${file}, which is a file; name a folder.`,
    });
    await expect(lm.save(join(file, 'below'))).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('cannot be made (ENOTDIR)'),
    });
    expect(readFileSync(file, 'utf8')).toBe('something');
    const { folder } = await adapterFolder();
    await expect(lm.save(folder)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('holds an adapter'),
    });
    await lm.model.addAdapter({ rank: 1, alpha: 1 });
    await expect(lm.save(base)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('holds a full model'),
    });
  });
});
