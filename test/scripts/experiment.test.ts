/** The experiment's script from end to end on a tiny model, also resumed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { holm } from '../../src/report/compare.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const root = resolve(import.meta.dirname, '../..');
const work = temporaryFolder('cream-experiment-');
const data = join(work, 'data');
const out = join(work, 'out');
const page = join(work, 'page.md');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024 });

function write(stem: string, rows: object[]): void {
  const path = join(data, `${stem}.jsonl`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}
const questions = (name: string) =>
  Array.from({ length: 6 }, (_, i) => ({
    id: `${name}-${i}`,
    question: `${name} number ${i}?`,
    choices: ['A', 'B', 'C'].map((label) => ({ label, text: `${label.repeat(i + 1)} ${name}` })),
    answer: 'ABC'[i % 3],
  }));

function experiment(...more: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      ...['scripts/experiments/cream.mjs', '--plan', 'smoke', '--data', data, '--out', out],
      ...['--model', `smollm2=${model}`, ...more],
    ],
    { cwd: root, encoding: 'utf8' },
  );
  return { status, stdout, stderr };
}

beforeAll(() => {
  write(
    'openassistant/train',
    Array.from({ length: 6 }, (_, i) => ({
      id: `d${i}`,
      messages: [
        { role: 'user', content: `Say ${i}` },
        { role: 'assistant', content: `It is ${i}.` },
      ],
    })),
  );
  write(
    'openassistant/pairs',
    Array.from({ length: 5 }, (_, i) => ({
      id: `p${i}`,
      prompt: `Ask ${i}`,
      chosen: `good ${'a'.repeat(i)}`,
      rejected: `bad ${i}`,
    })),
  );
  for (const task of ['arc_easy', 'arc_challenge', 'openbookqa', 'siqa'])
    for (const split of ['train', 'test', 'validation'])
      write(`${task}/${split}`, questions(`${task} ${split}`));
  writeFileSync(page, 'Before.\n\n<!-- smoke: tables -->\n<!-- smoke: end -->\n\nAfter.\n');
});

describe('scripts/experiments/cream.mjs', () => {
  it('trains every arm from one M1 per seed, and makes all tables', () => {
    const { status, stdout, stderr } = experiment('--write', page, '--jobs', '2');
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    for (const title of [
      'Primary: greedy accuracy of the last model, cream-avg against srlm',
      'Greedy answers',
      'Arms against their controls, greedy accuracy',
      'Form of the greedy answers (not registered)',
      'Greedy accuracy where both answers name a choice (not registered)',
      'Log-likelihood',
      'Ranking of human pairs',
      'Iteration by iteration',
    ])
      expect(stdout).toContain(`#### ${title}`);
    const arms = ['srlm', 'cream-avg', 'cream-dyn', 'permuted', 'sign'];
    // Greedy answers: 2 seeds × 4 tasks × 2 questions.
    for (const arm of ['M1', ...arms])
      expect(stdout).toMatch(new RegExp(`^\\| ${arm} \\| 16 \\| `, 'm'));
    expect(readFileSync(page, 'utf8')).toBe(
      `Before.\n\n<!-- smoke: tables -->\n${stdout}\n<!-- smoke: end -->\n\nAfter.\n`,
    );
    const pairs = (arm: string) =>
      readFileSync(join(out, `smollm2/1/${arm}/iteration-1/pairs.jsonl`), 'utf8')
        .trimEnd()
        .split('\n')
        .map(
          (line) => JSON.parse(line) as { chosen: unknown; consistency: number; weight: number },
        );
    // All arms train on the same pairs of the same M1, except the arm with another reward.
    for (const arm of arms.slice(0, 5))
      expect(pairs(arm).map(({ chosen }) => chosen)).toEqual(
        pairs('cream-avg').map(({ chosen }) => chosen),
      );
    expect(new Set(pairs('srlm').map(({ weight }) => weight))).toEqual(new Set([1]));
    const own = pairs('cream-dyn').map(({ weight }) => weight);
    expect(
      pairs('permuted')
        .map(({ weight }) => weight)
        .sort(),
    ).toEqual([...own].sort());
    expect(pairs('sign').every(({ weight }) => weight === 0 || weight === 1)).toBe(true);
  }, 1_800_000);

  it('asks every question of one seed alone', () => {
    const asked = [0, 1].flatMap((block) =>
      readFileSync(join(out, `questions/${block}/siqa.jsonl`), 'utf8')
        .trimEnd()
        .split('\n'),
    );
    expect(new Set(asked).size).toBe(6);
    expect(asked).toHaveLength(6);
  });

  it('keeps what is finished, and makes what is missing', () => {
    const kept = join(out, 'smollm2/1/sign/greedy.jsonl');
    const lost = join(out, 'smollm2/2/srlm/greedy.jsonl');
    const results = join(out, 'results/smoke/smollm2/2/srlm.json');
    const [before, text] = [statSync(kept).mtimeMs, readFileSync(lost, 'utf8')];
    const found = readFileSync(results, 'utf8');
    rmSync(lost);
    rmSync(results);
    const other = experiment('--seed', '1');
    expect(other).toMatchObject({ status: 0, stdout: '' });
    expect(other.stderr).toContain('1 of 12 models have no results yet, so no tables are made.');
    expect(experiment('--seed', '2', '--arm', 'srlm').status).toBe(0);
    expect(statSync(kept).mtimeMs).toBe(before);
    expect(readFileSync(lost, 'utf8')).toBe(text);
    expect(readFileSync(results, 'utf8')).toBe(found);
  }, 600_000);

  it('makes the same tables from the results alone, without data or a run', () => {
    const elsewhere = join(work, 'elsewhere');
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        ...['scripts/experiments/cream.mjs', '--plan', 'smoke'],
        ...['--out', elsewhere, '--results', join(out, 'results')],
      ],
      { cwd: root, encoding: 'utf8' },
    );
    expect(status).toBe(0);
    const [, written] = readFileSync(page, 'utf8').split(/<!-- smoke: (?:tables|end) -->/);
    expect(stdout).toBe(written!.slice(1, -1));
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('names the inputs that are missing, and data that is not the registered', () => {
    const run = (...args: string[]) => {
      const options = { cwd: root, encoding: 'utf8' } as const;
      return spawnSync(process.execPath, ['scripts/experiments/cream.mjs', ...args], options);
    };
    const { status, stderr } = run('--data', data);
    expect(status).not.toBe(0);
    expect(stderr).toContain('The plan needs a file of gemma3: add --model gemma3=PATH.');
    expect(run('--only', 'smollm2').stderr).toContain('--data is missing');
    const other = run('--only', 'smollm2', '--data', data);
    expect(other.status).not.toBe(0);
    expect(other.stderr).toContain('siqa/validation.jsonl: not the data that was registered');
  });

  it('has the published figures of a model in the primary table', async () => {
    const tables = async (page: string) => {
      const { experimentTables } = (await import(
        join(root, 'scripts/experiments/cream-tables.mjs')
      )) as { experimentTables: (...args: unknown[]) => Promise<{ primary: string }> };
      const { PLANS } = (await import(join(root, 'scripts/experiments/cream-plans.mjs'))) as {
        PLANS: { full: object };
      };
      const path = join(root, 'docs/experiments/results/full/smollm2.json');
      const published = { smollm2: JSON.parse(readFileSync(path, 'utf8')) as object };
      const { primary } = await experimentTables(PLANS.full, [], published);
      const cells = (line: string) => line.split('|').map((cell) => cell.trim());
      const row = (text: string) =>
        cells(text.split('\n').find((line) => /^\| smollm2 +\| 2984/.test(line))!);
      return [row(primary), row(page)];
    };
    const [made, printed] = await tables(readFileSync(join(root, 'docs/EXPERIMENTS.md'), 'utf8'));
    // Without the cell of Holm's correction, which depends on the other model.
    expect(made!.toSpliced(8, 1)).toEqual(printed!.toSpliced(8, 1));
  });
});

it('Holm’s correction multiplies the smallest p by the number of tests and keeps the order', () => {
  expect(holm([0.04, 0.01, 0.03])).toEqual([0.06, 0.03, 0.06]);
  expect(holm([0.9])).toEqual([0.9]);
});
