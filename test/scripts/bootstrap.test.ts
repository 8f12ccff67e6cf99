/** The bootstrap of the experiments' tables against scipy's (scripts/golden/intervals.py). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { differenceInterval } from '../../src/evaluate/intervals.js';

interface Golden {
  n: number;
  b: number;
  c: number;
  scipy: [number, number];
  exact: [number, number];
}
const { bootstrap: golden } = JSON.parse(
  readFileSync(new URL('../golden/intervals.json', import.meta.url), 'utf8'),
) as { bootstrap: Golden[] };

/** A function of the script, called with each of `calls` in a process of its own. */
function fromScript(name: string, calls: readonly unknown[][]): { low: number; high: number }[] {
  const program =
    `import { ${name} } from './scripts/experiments/bootstrap.mjs';` +
    `console.log(JSON.stringify(${JSON.stringify(calls)}.map((call) => ${name}(...call))));`;
  const stdout = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: resolve(import.meta.dirname, '../..'),
    encoding: 'utf8',
  });
  return JSON.parse(stdout) as { low: number; high: number }[];
}

describe('the registered interval', () => {
  const made = fromScript(
    'bootstrapDifference',
    golden.map(({ n, b, c }) => [n, b, c]),
  );
  it.each(golden.map((of, i) => ({ ...of, i })))(
    'of $n questions, $b lost and $c won, is the exact one within a resampling step, as scipy’s is',
    ({ n, b, c, scipy, exact, i }) => {
      const { low, high } = made[i]!;
      const step = 2 / n + 1e-12;
      for (const [ours, theirs, limit] of [
        [low, scipy[0], exact[0]],
        [high, scipy[1], exact[1]],
      ] as const) {
        expect(Math.abs(ours - limit)).toBeLessThanOrEqual(step);
        expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(2 * step);
      }
      expect(low).toBeLessThanOrEqual((c - b) / n);
      expect(high).toBeGreaterThanOrEqual((c - b) / n);
    },
  );

  it('is the score interval where fewer than ten questions differ', () => {
    const answers = (right: (i: number) => boolean) =>
      Array.from({ length: 96 }, (_, i) => ({ task: 't', prompt_id: `${i}`, correct: right(i) }));
    const [few, enough] = fromScript('compareRegistered', [
      [answers((i) => i < 4), answers((i) => i >= 4 && i < 9)],
      [answers((i) => i < 4), answers((i) => i >= 4 && i < 10)],
    ]);
    const [bootstrap] = fromScript('bootstrapDifference', [[96, 4, 6]]);
    expect(few).toMatchObject(differenceInterval(96, 4, 5));
    expect(enough).toMatchObject(bootstrap!);
  });
});
