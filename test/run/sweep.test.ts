/** Sweeps: the runs that a file asks for, their names, and `cream sweep` as it is run. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSweep, sweepRuns } from '../../src/run/sweep.js';
import { artefacts, startCream } from '../support/cli.js';
import { TINY } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const names = (text: string): string[] => parseSweep(text, 's.yaml').runs.map(({ name }) => name);

describe('a sweep file', () => {
  it('makes a grid of settings and seeds, named by what they set', () => {
    const text = `
recipe: mine
set: {iterations: 1}
grid:
  train.learning_rate: [1.0e-6, 5.0e-6]
  rank.weighting: [avg, fixed]
seeds: [1, 2]
`;
    expect(names(text)).toEqual([
      'learning_rate=0.000001,weighting=avg,seed=1',
      'learning_rate=0.000001,weighting=avg,seed=2',
      'learning_rate=0.000001,weighting=fixed,seed=1',
      'learning_rate=0.000001,weighting=fixed,seed=2',
      'learning_rate=0.000005,weighting=avg,seed=1',
      'learning_rate=0.000005,weighting=avg,seed=2',
      'learning_rate=0.000005,weighting=fixed,seed=1',
      'learning_rate=0.000005,weighting=fixed,seed=2',
    ]);
    const recipes = sweepRuns(parseSweep(text, 's.yaml'), '{}', 'mine.yaml').map(
      (run) => run.recipe,
    );
    expect(
      recipes.map(({ iterations, seed, train, rank }) => [
        iterations,
        seed,
        train.learning_rate,
        rank.weighting,
      ]),
    ).toContainEqual([1, 2, 5e-6, 'fixed']);
  });

  it('takes a list, keeps keys apart, and needs no seeds', () => {
    expect(
      names(
        'recipe: x\nlist:\n  - {train.batch_size: 2, sft.batch_size: 4}\n  - {train.beta: 0.5}\n',
      ),
    ).toEqual(['train.batch_size=2,sft.batch_size=4', 'beta=0.5']);
    expect(names('recipe: x\nseeds: [3]\n')).toEqual(['seed=3']);
    const [long] = names(`recipe: x\ngrid: {prompts.source: ["${'a/'.repeat(90)}.jsonl"]}\n`);
    expect(long).toMatch(/^source=[\w.]+-[0-9a-f]{8}$/);
    expect(long!.length).toBeLessThan(140);
  });

  it.each([
    ['grid: {seed: [1]}', /s\.yaml:1:1 recipe: /],
    ['recipe: x\ngrid: {a: 1}', /^s\.yaml:2:11 grid\.a: /],
    ['recipe: x\ngrid: {a: [1]}\nlist: [{a: 1}]', /give either grid or list/],
    ['recipe: x\nseeds: [1, 1]', /two runs have the settings seed=1/],
    ['recipe: x\nseeds: [a', /^s\.yaml:2:/],
    ['- 1', /s\.yaml:1:1 a sweep has the keys/],
    [
      'recipe: x\nseed: [1]',
      /s\.yaml:2:7 seed: unknown key; a sweep has recipe, set, grid, list, s/,
    ],
    ['recipe: x\nseeds: [a]', /s\.yaml:2:9 seeds\.0: must be a number, got the text 'a'/],
    ['recipe: x\nseeds: 1', /s\.yaml:2:8 seeds: must be a list, got 1/],
    ['seeds: [1]', /recipe: must be text, got nothing/],
  ])('%j is refused in its place', (text, message) =>
    expect(() => parseSweep(text, 's.yaml')).toThrow(message),
  );

  it('names the place of a setting that the recipe refuses', () => {
    const parsed = parseSweep('recipe: x\ngrid:\n  train.beta: [0.1, -1]\n', 's.yaml');
    expect(() => sweepRuns(parsed, '{}', 'x.yaml')).toThrow(
      /^s\.yaml:3:21 train\.beta: must be more/,
    );
  });
});

describe('cream sweep', () => {
  const cream = (cwd: string, ...args: string[]) => startCream(args, {}, cwd).finished;

  it('runs all, resumes, extends, and compares over seeds; report does so again', async () => {
    const work = temporaryFolder();
    const evaluate = 'evaluate: {tasks: [builtin], count: 4, max_new_tokens: 4, baseline: false}\n';
    writeFileSync(join(work, 'tiny.yaml'), TINY.replace(/^evaluate: .*\n/m, evaluate));
    const file = join(work, 'betas.yaml');
    writeFileSync(file, 'recipe: tiny.yaml\ngrid: {train.beta: [0.1, 0.5]}\nseeds: [1, 2]\n');
    const dry = await cream(work, 'sweep', file, '--dry-run');
    expect(dry.stdout.match(/not begun/g)).toHaveLength(4);
    expect(existsSync(join(work, 'runs'))).toBe(false);

    const { child, finished } = startCream(['sweep', file], {}, work);
    const second = join(work, 'runs/betas/beta=0.1,seed=2/events.jsonl');
    while (!existsSync(second)) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGINT');
    expect(await finished).toMatchObject({ code: 130 });
    const done = join(work, 'runs/betas/beta=0.1,seed=1/summary.json');
    const before = statSync(done).mtimeMs;
    const whole = await cream(work, 'sweep', file);
    expect(whole).toMatchObject({ code: 0 });
    expect(statSync(done).mtimeMs).toBe(before);
    expect(whole.stdout).toMatch(/train\.beta 0\.1 +2 +0\.0 % \(0\.0 % – 0\.0 %\) +1\.000/);
    expect(readdirSync(join(work, 'runs/betas')).sort()).toEqual([
      'beta=0.1,seed=1',
      'beta=0.1,seed=2',
      'beta=0.5,seed=1',
      'beta=0.5,seed=2',
      'compare.html',
    ]);
    const page = readFileSync(join(work, 'runs/betas/compare.html'), 'utf8');
    expect(page).toContain('train.beta 0.5');
    // A run of the sweep is the run of its recipe.
    const alone = [
      'run',
      'tiny.yaml',
      '--set',
      'train.beta=0.5',
      '--set',
      'seed=2',
      '--out',
      'one',
    ];
    expect(await cream(work, ...alone)).toMatchObject({ code: 0 });
    expect(artefacts(join(work, 'one'))).toEqual(
      artefacts(join(work, 'runs/betas/beta=0.5,seed=2')),
    );
    const again = await cream(work, 'report', 'runs/betas');
    expect(again.stdout).toContain('Report: runs/betas/compare.html');
    expect(again.stdout).toMatch(/train\.beta 0\.5 +2 /);
  });

  it('goes on after a run that fails, names it, and checks every recipe first', async () => {
    const work = temporaryFolder();
    writeFileSync(join(work, 'tiny.yaml'), TINY);
    const file = join(work, 's.yaml');
    writeFileSync(file, 'recipe: tiny.yaml\ngrid: {prompts.source: [missing.jsonl, builtin]}\n');
    mkdirSync(join(work, 'runs'));
    const { code, stdout } = await cream(work, 'sweep', file, '--json');
    const { runs } = JSON.parse(stdout) as {
      runs: { name: string; state: string; error?: string }[];
    };
    expect(code).toBe(1);
    expect(runs.map(({ state }) => state)).toEqual(['failed', 'finished']);
    expect(runs[0]!.error).toContain('missing.jsonl');
    writeFileSync(file, 'recipe: tiny.yaml\ngrid: {train.beta: [0.1, no]}\n');
    expect(await cream(work, 'sweep', file)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('train.beta'),
    });
  });
});
