/** Compares the declared type of the addon with its exports; errors of a missing addon. */
import { describe, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../support/tiny-model.js';
import {
  addon,
  benchmarkCopy,
  benchmarkGemm,
  engineInfo,
  setThreads,
  type Addon,
  type NativeModel,
  type NativeTrainer,
} from '../../src/engine/addon.js';

/** A new instance of the module, by its query, which has not loaded the addon yet. */
const freshAddon = async (query: string) =>
  (await import(
    `../../src/engine/addon.ts?${encodeURIComponent(query)}`
  )) as typeof import('../../src/engine/addon.js');

// Records, so that the compiler requires a line for every name in the types.
const functions: Record<keyof Addon, true> = {
  rankPlace: true,
  processGroups: true,
  joinRanks: true,
  storeSet: true,
  storeAwait: true,
  storeAdd: true,
  storeRemove: true,
  storePush: true,
  storePop: true,
  leaveRanks: true,
  endProcess: true,
  Model: true,
  Trainer: true,
  engineInfo: true,
  freeDeviceMemory: true,
  setThreads: true,
  releaseMemory: true,
  readGguf: true,
  lockFile: true,
  plan: true,
  benchmarkGemm: true,
  benchmarkCopy: true,
};
const modelMethods: Record<keyof NativeModel, true> = {
  load: true,
  generate: true,
  score: true,
  logits: true,
  classify: true,
  snapshot: true,
  save: true,
  addAdapter: true,
  loadAdapter: true,
  saveAdapter: true,
  merge: true,
  offload: true,
  createTrainer: true,
  dispose: true,
};
const trainerMethods: Record<keyof NativeTrainer, true> = {
  preferenceStep: true,
  sftStep: true,
  saveState: true,
  loadState: true,
  gatherWeights: true,
  dispose: true,
};

const broken = join(temporaryFolder(), 'broken.node');
writeFileSync(broken, 'not a library');

const methods = (type: { prototype?: unknown }) =>
  Object.getOwnPropertyNames(type.prototype)
    .filter((name) => name !== 'constructor')
    .sort();

describe('the addon', () => {
  it('exports what addon.ts declares, and nothing else', () => {
    expect(Object.keys(addon()).sort()).toEqual(Object.keys(functions).sort());
    expect(methods(addon().Model as never)).toEqual(Object.keys(modelMethods).sort());
    expect(methods(addon().Trainer as never)).toEqual(Object.keys(trainerMethods).sort());
  });

  it('refuses to make a trainer without its model', () => {
    expect(() => new (addon().Trainer)()).toThrow('a trainer is made by its model');
  });

  it('reports machine and build', () => {
    const info = engineInfo();
    expect(info.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(info.torch).toMatch(/^2\.\d+/);
    expect(info.threads).toBeGreaterThan(0);
    const { built, toolkit, architectures, problem, gpus } = info.cuda;
    expect(built).toBe(toolkit !== '' && architectures !== '');
    expect(problem === '').toBe(gpus.length > 0);
    expect(Array.isArray(info.cpu.features)).toBe(true);
  });

  it('measures the machine for `cream bench`', async () => {
    for (const dtype of ['bfloat16', 'float32'] as const)
      expect(await benchmarkGemm({ m: 3, k: 40, n: 24, dtype, repeats: 2 })).toBeGreaterThan(0);
    expect(await benchmarkCopy({ bytes: 1 << 20, repeats: 2 })).toBeGreaterThan(0);
    expect(() => benchmarkGemm({ m: 0, k: 1, n: 1, dtype: 'float32', repeats: 1 })).toThrow(
      '[benchmarkGemm] a size must be an integer',
    );
  });

  it('refuses impossible thread counts and keeps the old one', () => {
    const { threads } = engineInfo();
    expect(() => setThreads(0)).toThrow(
      '[setThreads] threads must be an integer from 1 to 4096, got 0.',
    );
    expect(engineInfo().threads).toBe(threads);
    setThreads(1);
    expect(engineInfo().threads).toBe(1);
    setThreads(threads);
  });

  it.each([
    ['/nowhere/cream.node', 'CREAM_ADDON names no file (/nowhere/cream.node): unset it'],
    [broken, `The native addon ${broken} does not load`],
  ])('says what to do where %s is no addon', async (path, sentence) => {
    const before = process.env['CREAM_ADDON'];
    process.env['CREAM_ADDON'] = path;
    try {
      const fresh = await freshAddon(path);
      expect(() => fresh.engineInfo()).toThrow(
        expect.objectContaining({ code: 'ERR_ADDON', message: expect.stringContaining(sentence) }),
      );
    } finally {
      if (before === undefined) delete process.env['CREAM_ADDON'];
      else process.env['CREAM_ADDON'] = before;
    }
  });

  it('refuses a CREAM_CPU_LEVEL that names no kernels', async () => {
    const before = process.env['CREAM_CPU_LEVEL'];
    process.env['CREAM_CPU_LEVEL'] = 'foo';
    try {
      const fresh = await freshAddon('level');
      expect(() => fresh.engineInfo()).toThrow(
        expect.objectContaining({
          code: 'ERR_INVALID_ARGUMENT',
          message: expect.stringContaining(
            "'foo', which names no kernels: give one of plain, avx2",
          ),
        }),
      );
    } finally {
      if (before === undefined) delete process.env['CREAM_CPU_LEVEL'];
      else process.env['CREAM_CPU_LEVEL'] = before;
    }
  });
});
