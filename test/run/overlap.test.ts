/** Which items are worked on at once, what is told meanwhile, and what an error stops. */
import { expect, it } from '@jest/globals';
import { engineInfo } from '../../src/engine/addon.js';
import { Model } from '../../src/engine/model.js';
import type { WorkHooks } from '../../src/lm/hooks.js';
import type { LanguageModel } from '../../src/lm/language-model.js';
import { overlapped, type Overlap } from '../../src/run/overlap.js';
import { sequencesAtOnce } from '../../src/run/stages/stage.js';
import { tinyModel } from '../support/tiny-model.js';

/** Items whose work the test ends by hand. */
class Bench {
  readonly begun: string[] = [];
  readonly kept: string[] = [];
  readonly told: [done: number, tokens: number][] = [];
  readonly hooks: Record<string, WorkHooks> = {};
  private readonly ends: Record<string, { good: () => void; bad: (error: Error) => void }> = {};
  readonly over: Promise<void>;

  constructor(
    names: string,
    settings: Pick<Overlap<string>, 'atOnce' | 'most'>,
    keep: (name: string) => Promise<void> = () => Promise.resolve(),
    signal = new AbortController().signal,
  ) {
    const left = [...names].values();
    this.over = overlapped<string, string>(
      { take: () => Promise.resolve(left.next().value), units: () => 10, ...settings },
      (name, hooks) => {
        this.begun.push(name);
        this.hooks[name] = hooks;
        return new Promise((good, bad) => {
          this.ends[name] = { good: () => good(name), bad };
          hooks.signal.addEventListener('abort', () => bad(hooks.signal.reason as Error));
        });
      },
      async (name) => {
        await keep(name);
        this.kept.push(name);
      },
      { signal, progress: (done, tokens) => this.told.push([done, tokens]) },
    );
    this.over.catch(() => {});
  }

  async end(name: string): Promise<void> {
    this.ends[name]!.good();
    await settled();
  }

  async fail(name: string, error: Error): Promise<void> {
    this.ends[name]!.bad(error);
    await settled();
  }

  async progress(name: string, done: number, tokens: number): Promise<void> {
    this.hooks[name]!.progress(done, tokens);
    await settled();
  }
}

/** Everything that waits for nothing outside has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

it('works on one item after the other unless it is told how many units go together', async () => {
  const bench = new Bench('ab', { atOnce: undefined });
  await settled();
  await bench.progress('a', 10, 100);
  expect(bench.begun).toEqual(['a']);
  await bench.end('a');
  expect(bench.begun).toEqual(['a', 'b']);
  await bench.end('b');
  await bench.over;
  expect(bench.kept).toEqual(['a', 'b']);
});

it('begins the next item once few units are unfinished, and sums up the progress', async () => {
  const bench = new Bench('abc', { atOnce: 15 });
  await settled();
  expect(bench.begun).toEqual(['a', 'b']); // 10 are fewer than 15, 20 are not
  await bench.progress('a', 5, 50);
  expect(bench.begun).toEqual(['a', 'b']);
  await bench.progress('b', 1, 7);
  expect(bench.begun).toEqual(['a', 'b', 'c']);
  await bench.end('b');
  await bench.progress('c', 2, 3);
  expect(bench.told).toEqual([
    [5, 50],
    [6, 57],
    [17, 60], // b's ten units, and its tokens so far
  ]);
  await bench.end('c');
  await bench.end('a');
  await bench.over;
  expect(bench.kept).toEqual(['b', 'c', 'a']);
});

it('holds no more items than it may, however few units they have', async () => {
  const bench = new Bench('abc', { atOnce: 1000, most: 2 });
  await settled();
  expect(bench.begun).toEqual(['a', 'b']);
  await bench.end('b');
  expect(bench.begun).toEqual(['a', 'b', 'c']);
  await bench.end('a');
  await bench.end('c');
  await bench.over;
});

it('keeps one item at a time, beside the work on the next', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const bench = new Bench('abc', { atOnce: undefined }, () => held);
  await settled();
  await bench.end('a');
  expect(bench.begun).toEqual(['a', 'b']); // while a is being kept
  await bench.end('b');
  expect(bench.begun).toEqual(['a', 'b']); // b has to be kept too
  expect(bench.kept).toEqual([]);
  release();
  await settled();
  expect(bench.begun).toEqual(['a', 'b', 'c']);
  await bench.end('c');
  await bench.over;
  expect(bench.kept).toEqual(['a', 'b', 'c']);
});

it('ends with the first error, once the other items have stopped', async () => {
  const bench = new Bench('abcd', { atOnce: 30 });
  await settled();
  expect(bench.begun).toEqual(['a', 'b', 'c']);
  await bench.fail('b', new Error('out of memory'));
  await expect(bench.over).rejects.toThrow('out of memory');
  expect(bench.hooks['a']!.signal.aborted).toBe(true);
  expect(bench.begun).toEqual(['a', 'b', 'c']);
  expect(bench.kept).toEqual([]);
});

it('ends with the error of keeping, and keeps nothing after it', async () => {
  const refuse = (name: string) =>
    name === 'b' ? Promise.reject(new Error('the disk is full')) : Promise.resolve();
  const bench = new Bench('abc', { atOnce: 30 }, refuse);
  await settled();
  for (const name of 'abc') await bench.end(name);
  await expect(bench.over).rejects.toThrow('the disk is full');
  expect(bench.kept).toEqual(['a']);
});

it('is stopped by the signal of its caller', async () => {
  const stop = new AbortController();
  const bench = new Bench('ab', { atOnce: 30 }, undefined, stop.signal);
  await settled();
  stop.abort(new Error('asked to stop'));
  await expect(bench.over).rejects.toThrow('asked to stop');
  expect(bench.kept).toEqual([]);
});

it('decodes blocks together only where a sequence has its bits in any company', async () => {
  const limit = (
    device: string,
    batchInvariant: boolean,
    most: number | 'auto' = 'auto',
    rank?: number,
  ) =>
    sequencesAtOnce(
      () =>
        Promise.resolve({
          model: { device, config: { batchInvariant }, adapter: rank ? { rank } : null },
        } as unknown as LanguageModel),
      most,
    );
  expect(await limit('cpu', true)).toBe(128);
  expect(await limit('cpu', true, 40)).toBe(40);
  expect(await limit('cuda:0', true)).toBe(512);
  expect(await limit('cpu', false)).toBeUndefined();
  expect(await limit('cuda:0', false, 40)).toBeUndefined();
  expect(await limit('cpu', true, 40, 4)).toBe(40);
  expect(await limit('cuda:0', true, 40, 32)).toBe(40);
  expect(await limit('cuda:0', true, 40, 4)).toBeUndefined();
  // Which models are: native/model/transformer.cpp.
  const headsOf = async (hiddenSize: number) => {
    const model = await Model.load(tinyModel({ hiddenSize, numHeads: 2, numKvHeads: 1 }));
    const { headDim, batchInvariant } = model.config;
    await model.dispose();
    return { headDim, batchInvariant };
  };
  const kernels = engineInfo().cpu.level !== 'plain ATen';
  expect(await headsOf(32)).toEqual({ headDim: 16, batchInvariant: kernels });
  expect(await headsOf(48)).toEqual({ headDim: 24, batchInvariant: false });
});
