/** A model on its thread: loading, saving, snapshots, disposing, several models. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo, releaseMemory } from '../../src/engine/addon.js';
import { Model } from '../../src/engine/model.js';
import { plain, request } from '../support/tiny-generation.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const folder = tinyModel({ config: { unknown_key: { kept: true } } });

let model: Model;
beforeAll(async () => {
  model = await Model.load(folder, { dtype: 'float32' });
});
afterAll(() => model.dispose());

describe('load', () => {
  it('reads the config', () => {
    expect(model.config).toMatchObject({
      architecture: 'LlamaForCausalLM',
      modelType: 'llama',
      vocabSize: 97,
      numLayers: 2,
      numHeads: 4,
      numKvHeads: 2,
      headDim: 8,
      tieWordEmbeddings: true,
      bosTokenId: 1,
      eosTokenIds: [2],
    });
    expect(model.config.parameters).toBe(
      97 * 32 + 2 * (2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32) + 32,
    );
    expect(model.path).toBe(folder);
  });

  it.each<[string, (copy: string) => void, string]>([
    ['a folder that is not there', (copy) => cpSync(copy, `${copy}-moved`), 'ERR_NOT_FOUND'],
    [
      'a truncated file',
      (copy) => truncateSync(join(copy, 'model.safetensors'), 5000),
      'ERR_INVALID_FILE',
    ],
    [
      'a config that is no JSON',
      (copy) => writeFileSync(join(copy, 'config.json'), '{'),
      'ERR_INVALID_FILE',
    ],
    [
      'an unknown architecture',
      (copy) =>
        writeFileSync(
          join(copy, 'config.json'),
          readFileSync(join(copy, 'config.json'), 'utf8')
            .replaceAll('llama', 'mamba')
            .replaceAll('LlamaForCausalLM', 'MambaForCausalLM'),
        ),
      'ERR_UNSUPPORTED',
    ],
  ])('refuses %s in one sentence', async (what, damage, code) => {
    const copy = join(temporaryFolder(), 'model');
    cpSync(folder, copy, { recursive: true });
    if (code !== 'ERR_NOT_FOUND') damage(copy);
    const error = await Model.load(code === 'ERR_NOT_FOUND' ? `${copy}-missing` : copy).then(
      () => undefined,
      (failure: Error) => failure,
    );
    expect(error).toMatchObject({ name: 'CreamError', code });
    expect(error!.message).toContain(copy);
    expect(error!.message).not.toContain('\n');
  });

  it('stops when its signal was aborted before', async () => {
    await expect(
      Model.load(folder, { signal: AbortSignal.abort(new Error('no more')) }),
    ).rejects.toThrow('no more');
  });
});

describe('save', () => {
  it('reloads to the same logits, keeps the config and writes whole files', async () => {
    const saved = join(temporaryFolder(), 'a/b');
    await model.save(saved);
    expect(readdirSync(saved).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(JSON.parse(readFileSync(join(saved, 'config.json'), 'utf8'))).toEqual(
      JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')),
    );
    const again = await Model.load(saved, { dtype: 'float32' });
    expect([...(await again.logits([3, 1, 4]))]).toEqual([...(await model.logits([3, 1, 4]))]);
    await again.dispose();
  });

  it('a bfloat16 model of a float32 file saves the float32 values', async () => {
    const rounded = await Model.load(folder);
    expect(rounded.dtype).toBe('bfloat16');
    const [exact, half] = [join(temporaryFolder(), 'f32'), join(temporaryFolder(), 'bf16')];
    await rounded.save(exact, { dtype: 'float32' });
    await rounded.save(half);
    expect(JSON.parse(readFileSync(join(half, 'config.json'), 'utf8'))).toMatchObject({
      torch_dtype: 'bfloat16',
    });
    const [fromExact, fromHalf] = [
      await Model.load(exact, { dtype: 'float32' }),
      await Model.load(half, { dtype: 'float32' }),
    ];
    expect([...(await fromExact.logits([3, 1]))]).toEqual([...(await model.logits([3, 1]))]);
    expect([...(await fromHalf.logits([3, 1]))]).not.toEqual([...(await model.logits([3, 1]))]);
    await Promise.all([rounded.dispose(), fromExact.dispose(), fromHalf.dispose()]);
  });

  it('says what is wrong where nothing can be written', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    await expect(model.save(join(file, 'model'))).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining(`Could not create the folder ${join(file, 'model')}: `),
    });
  });

  it('tells the files with weights and their SHA-256, also if hashed in parts', async () => {
    const large = await Model.load(tinyModel({ vocabSize: 50_000 }), { dtype: 'float32' });
    const target = temporaryFolder();
    const files = await large.save(target);
    await large.dispose();
    const bytes = readFileSync(join(target, 'model.safetensors'));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    expect(files).toEqual([{ name: 'model.safetensors', bytes: bytes.length, sha256 }]);
  });
});

describe('several models', () => {
  it('work side by side and count their weights once while shared', async () => {
    const before = engineInfo().weightBytes;
    const other = await Model.load(tinyModel({ seed: 2 }), { dtype: 'float32' });
    const size = engineInfo().weightBytes - before;
    expect(size).toBe(other.config.parameters * 4);
    const shared = other.snapshot();
    const [a, b, c] = await Promise.all([
      model.generate(request).all(),
      other.generate(request).all(),
      shared.generate(request).all(),
    ]);
    expect(engineInfo().weightBytes - before).toBe(size);
    expect(plain(b)).toEqual(plain(c));
    expect(plain(a)).not.toEqual(plain(b));
    await other.dispose();
    expect(plain(await shared.generate(request).all())).toEqual(plain(b));
    await shared.dispose();
    expect(engineInfo().weightBytes).toBe(before);
  });
});

describe('dispose', () => {
  it('lets running work finish, may be repeated, and refuses what comes later', async () => {
    const mine = await Model.load(folder);
    const work = mine.generate(request).all();
    const disposal = mine.dispose();
    expect((await work).length).toBe(5);
    await disposal;
    await mine.dispose();
    const gone = { name: 'CreamError', code: 'ERR_DISPOSED' };
    await expect(mine.score({ groups: [] })).rejects.toMatchObject(gone);
    expect(() => mine.generate(request)).toThrow(expect.objectContaining(gone));
    expect(() => mine.snapshot()).toThrow('disposed');
  });

  it('leaves large memory to releaseMemory, which gives it back to the system', async () => {
    const large = tinyModel({ vocabSize: 200_000, seed: 3 });
    const resident = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
    const loaded = await Model.load(large, { dtype: 'float32' });
    const before = resident();
    await loaded.dispose();
    releaseMemory(); // other models of this file may live, for whose next tensors it would be kept
    expect(before - resident()).toBeGreaterThan(15); // MiB, of 24
  });
});

describe('a snapshot', () => {
  it('of a model that is disposed of meanwhile is refused or stays usable', async () => {
    const origin = await Model.load(folder);
    const shared = origin.snapshot();
    await origin.dispose();
    expect((await shared.logits([1])).length).toBe(97);
    await shared.dispose();
  });
});
