import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { comparePage } from '../../src/report/compare-page.js';
import { compareRuns, meanInterval } from '../../src/report/compare.js';
import { writeRun } from './fixture.js';
import { temporaryFolder } from '../support/folders.js';

let directory: string;
beforeEach(() => {
  directory = temporaryFolder('cream-compare-');
});

/** A run of a recipe, whose last model answers `right` of 40 questions. */
function made(name: string, recipe: string, right: number): string {
  const path = join(directory, name);
  writeRun(path);
  writeFileSync(join(path, 'recipe.yaml'), recipe);
  const answers = join(path, 'iteration-2/answers.jsonl');
  const rows = readFileSync(answers, 'utf8').trim().split('\n');
  writeFileSync(
    answers,
    rows
      .map((row, i) => `${JSON.stringify({ ...JSON.parse(row), correct: i < right })}\n`)
      .join(''),
  );
  return path;
}

describe('compareRuns', () => {
  it('names keys that differ except seeds, and compares on the same questions', () => {
    const paths = [
      made('a1', 'seed: 1\nrank:\n  weighting: dynamic\n', 20),
      made('a2', 'seed: 2\nrank:\n  weighting: dynamic\n', 24),
      made('b1', 'seed: 1\nrank:\n  weighting: fixed\n', 36),
    ];
    const compared = compareRuns(paths);
    expect(compared.differing).toEqual([
      { key: 'seed', values: ['1', '2', '1'] },
      { key: 'rank.weighting', values: ['"dynamic"', '"dynamic"', '"fixed"'] },
    ]);
    expect(
      compared.groups.map(({ label, runs, finished, accuracy }) => [
        label,
        runs,
        finished,
        accuracy?.mean,
      ]),
    ).toEqual([
      ['rank.weighting dynamic', ['a1', 'a2'], 2, 0.55],
      ['rank.weighting fixed', ['b1'], 1, 0.9],
    ]);
    expect(compared.pairs.map(({ a, b, comparison }) => [a, b, comparison.onlyAfter])).toEqual([
      ['a1', 'a2', 4],
      ['a1', 'b1', 16],
      ['a2', 'b1', 12],
    ]);
    // McNemar: 2·½⁴, 2·½¹⁶, 2·½¹²; Holm multiplies the least by 3, the next by 2.
    expect(compared.pairs.map(({ adjusted }) => adjusted)).toEqual([
      expect.closeTo(2 ** -3, 12),
      expect.closeTo(3 * 2 ** -15, 12),
      expect.closeTo(2 * 2 ** -11, 12),
    ]);
    const html = comparePage(compared);
    for (const text of ['a1, a2, b1', 'rank.weighting', 'Over seeds', '+40.0', '0.125'])
      expect(html).toContain(text);
    expect(html).not.toMatch(/NaN|undefined/);
  });

  it('labels runs of one name by their paths, and accepts empty runs', () => {
    const paths = [made('x/run', 'seed: 1\n', 20), made('y/run', 'seed: [\n', 20)];
    rmSync(join(paths[1]!, 'iteration-2'), { recursive: true });
    for (const name of ['iteration-0', 'iteration-1', 'sft'])
      rmSync(join(paths[1]!, name), { recursive: true });
    const compared = compareRuns(paths);
    expect(compared.runs.map(({ label, last }) => [label, last?.label])).toEqual([
      [paths[0], 'Iteration 2'],
      [paths[1], undefined],
    ]);
    expect(compared.pairs).toEqual([]);
    expect(comparePage(compared)).not.toMatch(/NaN|undefined/);
  });
});

describe('meanInterval', () => {
  // scipy.stats.t.interval(0.95, n - 1, mean, sem)
  it("is Student's", () => {
    const { mean, low, high } = meanInterval([0.2, 0.25, 0.3, 0.21]);
    expect(mean).toBeCloseTo(0.24, 12);
    expect(low!).toBeCloseTo(0.167662, 5);
    expect(high!).toBeCloseTo(0.312338, 5);
    const many = meanInterval(Array.from({ length: 41 }, (_, i) => i));
    expect([many.low!, many.high!]).toEqual([
      expect.closeTo(16.218914, 3),
      expect.closeTo(23.781086, 3),
    ]);
  });
  it('has no interval of one value', () =>
    expect(meanInterval([0.5])).toEqual({ mean: 0.5, low: null, high: null }));
});
