/** Files in each other's places, and records of another run: the message names the right file. */
import { cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from '@jest/globals';
import { cream } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { tinyRun } from '../support/run.js';

const TWO = ['iterations=2', 'prompts.count=2'];
let first: string;
let other: string;
beforeAll(async () => {
  first = (await tinyRun(TWO)).directory;
  other = (await tinyRun([...TWO, 'train.learning_rate=0.01'])).directory;
});

function copy(): (name: string) => string {
  const folder = join(temporaryFolder('cream-misplaced-'), 'run');
  cpSync(first, folder, { recursive: true });
  return (name) => join(folder, name);
}

function swap(a: string, b: string): void {
  renameSync(a, `${a}.aside`);
  renameSync(b, a);
  renameSync(`${a}.aside`, b);
}

it('records of another run are named, and not the files that they do not describe', async () => {
  const at = copy();
  cpSync(join(other, 'records.jsonl'), at('records.jsonl'));
  const checked = await cream('verify', at(''));
  expect(checked.code).toBe(1);
  expect(checked.stdout.trim().split('\n')).toHaveLength(1);
  expect(checked.stdout).toMatch(/^records\.jsonl belongs to another run: .*bring back/);
  const before = readFileSync(at('recipe.yaml'), 'utf8');
  await expect(tinyRun(TWO, { directory: at('') })).rejects.toThrow(
    /records\.jsonl belongs to another run/,
  );
  expect(readFileSync(at('recipe.yaml'), 'utf8')).toBe(before);
  // The same where the recipe of that other run is given.
  await expect(
    tinyRun([...TWO, 'train.learning_rate=0.01'], { directory: at('') }),
  ).rejects.toThrow(/records\.jsonl belongs to another run/);
  expect(readFileSync(at('recipe.yaml'), 'utf8')).toBe(before);
});

it('two files that were swapped are both told with the place that they belong to', async () => {
  const at = copy();
  const [a, b] = ['iteration-1/pairs.jsonl', 'iteration-2/pairs.jsonl'];
  swap(at(a), at(b));
  const { stdout } = await cream('verify', at(''));
  expect(stdout).toContain(`${a} holds what was written to ${b}: put both files back`);
  expect(stdout).toContain(`${b} holds what was written to ${a}: put both files back`);
  await expect(tinyRun(TWO, { directory: at('') })).rejects.toThrow(
    `${a} holds what was written to ${b}`,
  );
  swap(at(a), at(b));
  expect((await cream('verify', at(''))).code).toBe(0);
});

it('a checkpoint of another iteration is told as such', async () => {
  const at = copy();
  const weights = (t: number) => `iteration-${t}/checkpoint/model.safetensors`;
  writeFileSync(at(weights(2)), readFileSync(at(weights(1))));
  const { stdout } = await cream('verify', at(''));
  expect(stdout).toContain(`${weights(2)} holds what was written to ${weights(1)}`);
});

it('one damaged file of the two is still the one that is named', async () => {
  const at = copy();
  writeFileSync(at('run.json'), `${readFileSync(at('run.json'), 'utf8')} `);
  const { stdout } = await cream('verify', at(''));
  expect(stdout).toMatch(/^run\.json is damaged/);
});
