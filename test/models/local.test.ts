import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { contentDigest } from '../../src/models/local.js';
import { loadModel } from '../../src/lm/language-model.js';
import { modelDigest, resolveModel } from '../../src/models/resolve.js';
import { tinyModel } from '../support/tiny-model.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-local-');

function folder(files: Record<string, string>): string {
  const place = mkdtempSync(join(root, 'model-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(place, name), text);
  return place;
}

const whole = { 'config.json': '{}', 'tokenizer.json': '{}', 'model.safetensors': 'weights' };
const index = JSON.stringify({
  weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
});

describe('a local model', () => {
  it('is found as a folder, a .gguf file, or a folder that holds one', async () => {
    const path = folder(whole);
    expect(await resolveModel(path)).toEqual({ path, name: path, source: 'local', digest: null });
    const gguf = join(folder({ 'x.gguf': 'GGUF…' }), 'x.gguf');
    expect((await resolveModel(gguf)).path).toBe(gguf);
    expect((await resolveModel(join(gguf, '..'))).path).toBe(gguf);
    const sharded = folder({
      'config.json': '{}',
      'tokenizer.json': '{}',
      'model.safetensors.index.json': index,
      'model-00001-of-00002.safetensors': 'a',
      'model-00002-of-00002.safetensors': 'b',
    });
    expect((await resolveModel(sharded)).path).toBe(sharded);
  });

  it('has a digest that follows its contents', async () => {
    const path = folder(whole);
    const digest = await modelDigest(await resolveModel(path));
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await contentDigest(folder(whole))).toBe(digest.slice(7));
    writeFileSync(join(path, 'README.md'), 'does not count');
    expect(await contentDigest(path)).toBe(digest.slice(7));
    writeFileSync(join(path, 'model.safetensors'), 'weightz');
    expect(await contentDigest(path)).not.toBe(digest.slice(7));
  });

  const { 'config.json': config, 'tokenizer.json': tokenizer, ...rest } = whole;
  it.each<[string, Record<string, string>, string, string]>([
    [
      'config.json',
      { 'tokenizer.json': tokenizer, ...rest },
      'ERR_INCOMPLETE_MODEL',
      'has no config.json',
    ],
    [
      'tokenizer.json',
      { 'config.json': config, ...rest },
      'ERR_INCOMPLETE_MODEL',
      'has no tokenizer.json',
    ],
    [
      'a fast tokenizer',
      { 'config.json': config, 'tokenizer.model': 'x', ...rest },
      'ERR_INCOMPLETE_MODEL',
      'its tokenizer.model is an older form',
    ],
    [
      'weights',
      { 'config.json': config, 'tokenizer.json': tokenizer },
      'ERR_INCOMPLETE_MODEL',
      'has no model.safetensors',
    ],
    [
      'safe weights',
      { 'config.json': config, 'tokenizer.json': tokenizer, 'pytorch_model.bin': 'x' },
      'ERR_INCOMPLETE_MODEL',
      'is a pickle, which is not read',
    ],
    [
      'the rest of a download',
      { 'config.json': config, 'tokenizer.json': tokenizer, 'model.safetensors.incomplete': 'x' },
      'ERR_INCOMPLETE_MODEL',
      'only the half-downloaded model.safetensors.incomplete',
    ],
    [
      'one shard',
      {
        'config.json': config,
        'tokenizer.json': tokenizer,
        'model.safetensors.index.json': index,
        'model-00001-of-00002.safetensors': 'a',
      },
      'ERR_INCOMPLETE_MODEL',
      'half-downloaded: 1 of 2 weight files are missing (model-00002-of-00002.safetensors)',
    ],
    [
      'a decent index',
      {
        'config.json': config,
        'tokenizer.json': tokenizer,
        'model.safetensors.index.json': '{"weight_map": {"a": "../x.safetensors"}}',
      },
      'ERR_INCOMPLETE_MODEL',
      'names a file outside its folder',
    ],
    [
      'any bytes of weights',
      { ...whole, 'model.safetensors': '' },
      'ERR_INCOMPLETE_MODEL',
      'model.safetensors is empty',
    ],
    [
      'real weights',
      {
        ...whole,
        'model.safetensors': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n',
      },
      'ERR_INCOMPLETE_MODEL',
      'git lfs pull',
    ],
    [
      'a whole config',
      { ...whole, 'config.json': '{"model_type": "lla' },
      'ERR_INCOMPLETE_MODEL',
      'config.json is not valid JSON',
    ],
  ])('without %s is refused with a sentence', async (_, files, code, message) => {
    await expect(resolveModel(folder(files))).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it('that is not there, or not a model, is refused with a sentence', async () => {
    const path = folder({ 'cut.gguf': 'GG', 'empty.gguf': '', 'notes.txt': 'x' });
    symlinkSync(join(root, 'nowhere'), join(path, 'model.safetensors'));
    mkdirSync(join(path, 'dir'));
    await expect(resolveModel('./no/such/model')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(resolveModel(join(path, 'missing.gguf'))).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
    });
    await expect(resolveModel(join(path, 'notes.txt'))).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining('is not a model'),
    });
    await expect(resolveModel(join(path, 'cut.gguf'))).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
      message: expect.stringContaining('does not begin with "GGUF"'),
    });
    await expect(resolveModel(join(path, 'empty.gguf'))).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
    });
    await expect(resolveModel(join(path, 'dir'))).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
    });
    await expect(resolveModel('not a name')).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining('smollm2-135m-instruct'),
    });
  });
});

it('a config with Python’s Infinity is read, and its family is refused by name', async () => {
  const folder = tinyModel({
    tokenizer: true,
    config: { architectures: ['Mamba2ForCausalLM'], model_type: 'mamba2' },
  });
  const path = join(folder, 'config.json');
  const text = readFileSync(path, 'utf8').replace(/}$/, ',"time_step_limit":[0.0,Infinity]}');
  writeFileSync(path, text);
  await expect(loadModel(folder)).rejects.toThrow(/mamba2/);
});
