/**
 * `cream bench --quick` on a tiny model runs, and its JSON has the keys that BENCHMARKS.md
 * documents. No time is asserted.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
// @ts-expect-error a script without types
import { line as fitLine } from '../../bench/curves.mjs';
// @ts-expect-error a script without types
import { kernelTable, readKernels } from '../../bench/kernels.mjs';
import { processGroups } from '../../src/engine/ranks.js';
import { cream, startCream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

interface Spread {
  median: number;
  min: number;
  max: number;
}

interface Result {
  format: number;
  quick: boolean;
  machine: Record<string, unknown>;
  model: { parameters: number };
  roofline: Record<string, Spread>;
  cases: {
    work: string;
    case: string;
    rounds: number;
    contenders: ({ name: string; tokens: number; samples: unknown[] } & Record<string, Spread>)[];
  }[];
}

const line = fitLine as (points: [number, number][]) => {
  intercept: number;
  slope: number;
  r2: number;
};
const cache = temporaryFolder('cream-bench-');
const model = tinyModel({ tokenizer: true });
const bench = (...args: string[]) =>
  startCream(['bench', ...args, '--quick', '--model', model], { CREAM_CACHE: cache }).finished;

/** Keys in the first column of BENCHMARKS.md's table under a heading. */
function documented(heading: string): string[] {
  const text = readFileSync(new URL('../../BENCHMARKS.md', import.meta.url), 'utf8')
    .split(`### ${heading}\n`)[1]!
    .split(/^#/m)[0]!;
  return [...text.matchAll(/^\| `(\w+)` +\|/gm)].map((match) => match[1]!);
}

describe("a recording of a GPU's kernels", () => {
  const folder = temporaryFolder('cream-kernels-');
  const read = readKernels as (folder: string) => { busySeconds: number } | undefined;
  const table = kernelTable as (recorded: unknown, markdown: boolean) => string;

  it('becomes a table, the longest first, our kernels by their short names', () => {
    const block = 'void cream::run_block<cream::ops::RopeBlock<unsigned short, 8> >(cream::ops::X)';
    writeFileSync(
      join(folder, 'kernels.tsv'),
      `4000000\t7\tbusy\n1000000\t2\t${block}\n3000000\t4\tnvjet_tst\n500000\t1\t[copy]\n`,
    );
    const recorded = read(folder);
    expect(recorded?.busySeconds).toBe(0.004);
    expect(table(recorded, true).split('\n').slice(2)).toEqual([
      '| nvjet_tst | 75.0 % | 3.00 | 4 | 750.0 |',
      '| RopeBlock<bf16, 8> | 25.0 % | 1.00 | 2 | 500.0 |',
      '| [copy] | 12.5 % | 0.50 | 1 | 500.0 |',
    ]);
    expect(read(folder)).toBeUndefined(); // it was read once
  });
});

describe('cream bench', () => {
  it('records kernels on a GPU only', async () => {
    const { code, stderr } = await bench('generate', '--kernels');
    expect(code).toBe(2);
    expect(stderr).toContain('--kernels records kernels of a GPU: name one with --device cuda.');
  });

  let result: Result;
  let shown: string;
  beforeAll(async () => {
    const json = join(temporaryFolder('cream-bench-json-'), 'result.json');
    const { code, stdout, stderr } = await bench('--json', json, '--markdown');
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    result = JSON.parse(readFileSync(json, 'utf8')) as Result;
    shown = stdout;
  });

  it('writes JSON with the documented keys', () => {
    expect(Object.keys(result)).toEqual(documented('The file'));
    expect(Object.keys(result.roofline)).toEqual(documented('`roofline`'));
    const known = documented('A contender');
    for (const { contenders } of result.cases)
      for (const contender of contenders)
        expect(known).toEqual(expect.arrayContaining(Object.keys(contender)));
  });

  it('measures the roofline and every case of every work', () => {
    for (const { median, min, max } of Object.values(result.roofline))
      expect([min > 0, min <= median, median <= max]).toEqual([true, true, true]);
    const of = (wanted: string) => result.cases.filter(({ work }) => work === wanted);
    expect(of('generate').map((one) => [one.case, one.rounds])).toEqual([
      ['generate', 1],
      ['generate-ragged', 1],
    ]);
    const [fixed] = of('generate')[0]!.contenders;
    expect(fixed).toMatchObject({ name: 'cream-lm', tokens: 2 * 2 * 4 });
    expect(fixed!['peakRss']!.median).toBeGreaterThan(1e7);
    for (const work of ['score', 'train', 'load', 'iteration'])
      expect(of(work).length).toBeGreaterThan(0);
  });

  it('shows a table of each case, and leaves nothing behind', () => {
    expect(shown.match(/^\| cream-lm \| /gm)!.length).toBeGreaterThanOrEqual(result.cases.length);
    expect(shown).toMatch(/^\| bf16 GEMM, /m);
    expect(shown).toContain('sizes too small to measure anything');
    expect(readdirSync(cache)).toEqual([]);
  });

  it('measures one work alone, and prints nothing but JSON if asked to', async () => {
    const { stdout } = await bench('load', '--json', '-');
    const { cases } = JSON.parse(stdout) as Result;
    expect(new Set(cases.map(({ work }) => work))).toEqual(new Set(['load']));
    expect((await bench('roofline')).stdout).toMatch(/^bf16 GEMM, 2048³ /m);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('measures cost curves, each axis with its points and its fit', async () => {
    const { code, stdout, stderr } = await bench('curves', '--markdown');
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    for (const axis of ['prompts', 'samples a prompt \\(N\\)', 'tokens a completion', 'model'])
      expect(stdout).toMatch(new RegExp(`^\\| ${axis} \\| sample, s \\|`, 'm'));
    // a line through two points
    expect(stdout.match(/^\| fit \| \S+ \+ \S+ · x \(R² 1\.000\) \|/gm)).toHaveLength(3);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('measures two ranks against one', async () => {
    const { code, stdout, stderr } = await bench('ranks', '--markdown');
    if (!processGroups().gloo) {
      expect([code, stderr]).toEqual([1, expect.stringContaining('ranks needs a build with Gloo')]);
      return;
    }
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('| stage | 1 rank, tokens/s | 2 ranks, tokens/s | scaling |');
    for (const stage of ['sample', 'train'])
      expect(stdout).toMatch(
        new RegExp(`^\\| ${stage} \\| [\\d. ]+ \\| [\\d. ]+ \\| [\\d.]+ × \\|`, 'm'),
      );
    expect(readdirSync(cache)).toEqual([]);
  });

  it.each<[string, [number, number][], { intercept: number; slope: number; r2: number }]>([
    [
      'a line',
      [
        [1, 5],
        [2, 7],
        [4, 11],
      ],
      { intercept: 3, slope: 2, r2: 1 },
    ],
    [
      'a cloud',
      [
        [0, 0],
        [1, 3],
        [2, 0],
      ],
      { intercept: 1, slope: 0, r2: 0 },
    ],
    [
      'one place',
      [
        [2, 1],
        [2, 3],
      ],
      { intercept: 2, slope: 0, r2: 1 },
    ],
  ])('fits %s', (_, points, fitted) => {
    for (const [key, value] of Object.entries(line(points)))
      expect(value).toBeCloseTo(fitted[key as keyof typeof fitted], 12);
  });

  it('refuses in one sentence what it cannot measure', async () => {
    expect(await cream('bench', 'everything')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Allowed choices are roofline'),
    });
    expect(await cream('bench', 'roofline', '--repeat', '0')).toMatchObject({
      code: 2,
      stderr: 'cream: --repeat 0 is no whole number of at least 1.\n',
    });
    expect(await cream('bench', 'score', '--shape', '2B')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("There is no shape '2B'; choose one of 30M"),
    });
    expect(await cream('bench', 'score', '--shape', '8b', '--model', 'x')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('leave one of them out'),
    });
    expect(await bench('roofline', '--json', join(cache, 'none', 'x.json'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENOENT'),
    });
  });
});
