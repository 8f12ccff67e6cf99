/**
 * A run on several ranks, started as torchrun starts them: the records of sampling, scoring and
 * evaluation are the single process's bytes, training is the single process's up to the order of
 * sums, and whatever stops a rank, the run goes on with any number of ranks.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processGroups } from '../../src/engine/ranks.js';
import type { RunEvent } from '../../src/run/events.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { artefacts, cream, startCream, type Finished } from '../support/cli.js';
import { creamOnRanks, startRanks } from '../support/ranks.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { pauseAt, whilePaused } from '../support/pause.js';

const { gloo } = processGroups();
if (!gloo) console.warn('skip runs on several ranks: this build has no Gloo');

const work = temporaryFolder('cream-ranks-');
const recipe = join(work, 'recipe.yaml');
const single = join(work, 'single');
const two = join(work, 'two');
let expected: Record<string, string>;

const settings = (more = '') => `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
seed: 7
threads: 1
iterations: 1
prompts: {count: 8}
sft: {enabled: true, count: 8, batch_size: 4, learning_rate: 1.0e-3}
sample: {samples: 3, max_new_tokens: 12, save_prompts: 3}
score: {save_prompts: 3}
train: {learning_rate: 1.0e-3, batch_size: 3, epochs: 2, save_steps: 1}
evaluate: {count: 6, baseline: true, max_new_tokens: 8, save_prompts: 4}
${more}`;

beforeAll(async () => {
  if (!gloo) return;
  writeFileSync(recipe, settings());
  expect(failure(await cream('run', recipe, '--out', single))).toBeUndefined();
  expected = artefacts(single);
  await succeeds(2, two);
});

/** What a process says that did not end well. */
const failure = ({ code, stderr }: Finished): string | undefined =>
  code === 0 ? undefined : `${code} ${stderr}`;

async function succeeds(ranks: number, directory: string): Promise<string> {
  const all = await creamOnRanks(ranks, 'run', recipe, '--out', directory);
  const followers = all.slice(1).map(() => ({ code: 0, signal: null, stdout: '', stderr: '' }));
  expect(failure(all[0]!)).toBeUndefined();
  expect(all.slice(1)).toEqual(followers);
  return all[0]!.stderr;
}

const steps = (directory: string, phase: string): StepRecord[] =>
  readFileSync(join(directory, phase, 'steps.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as StepRecord);

/** The tokens that sampling and scoring computed. */
const tokens = (directory: string): [string, number][] =>
  readFileSync(join(directory, 'events.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RunEvent)
    .flatMap((event): [string, number][] =>
      event.type === 'stage_finished' && ['sample', 'score'].includes(event.stage)
        ? [[event.stage, event.tokens]]
        : [],
    );

function agree(directory: string, phase: string, tolerance: number): void {
  const [own, other] = [steps(directory, phase), steps(single, phase)];
  expect(own.map(({ num_tokens }) => num_tokens)).toEqual(other.map((s) => s.num_tokens));
  for (const [i, step] of own.entries())
    for (const key of ['loss', 'grad_norm'] as const)
      expect(Math.abs(step[key] / other[i]![key] - 1)).toBeLessThan(tolerance);
}

(gloo ? describe : describe.skip)('a run on several ranks', () => {
  it('evaluates the base model to the same bytes, and trains to the same within rounding', () => {
    const found = artefacts(two);
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    for (const name of ['iteration-0/answers.jsonl', 'sft/demonstrations.jsonl'])
      expect({ name, sha: found[name] }).toEqual({ name, sha: expected[name] });
    agree(two, 'sft', 1e-2);
  });

  it('repeats byte for byte', async () => {
    const again = join(work, 'again');
    const told = await succeeds(2, again);
    expect(artefacts(again)).toEqual(artefacts(two));
    expect(told).toContain('2 processes, 1 thread each');
  });

  it.each([2, 4])(
    'samples, scores and evaluates with %i ranks what one process does',
    async (ranks) => {
      const base = join(work, `base-${ranks}`);
      const alone = join(work, `alone-${ranks}`);
      const set = ['--set', 'sft.enabled=false', '--set', 'train.save_steps=0'];
      expect(failure(await cream('run', recipe, '--out', alone, ...set))).toBeUndefined();
      const all = await creamOnRanks(ranks, 'run', recipe, '--out', base, ...set);
      expect(failure(all[0]!)).toBeUndefined();
      const names = ['completions', 'scores', 'sampler-check', 'rankings', 'pairs'];
      for (const name of names.map((stem) => `iteration-1/${stem}.jsonl`))
        expect({ name, sha: artefacts(base)[name] }).toEqual({
          name,
          sha: artefacts(alone)[name],
        });
      expect(tokens(base)).toEqual(tokens(alone));
      const [own, other] = [steps(base, 'iteration-1'), steps(alone, 'iteration-1')];
      expect(own).toHaveLength(other.length);
      expect(Math.abs(own[0]!.grad_norm / other[0]!.grad_norm - 1)).toBeLessThan(1e-3);
    },
  );
});

(gloo ? describe : describe.skip)('a run whose ranks end', () => {
  /** Starts a run, pauses it after the first event that matches, and calls `then`. */
  async function interrupted(
    ranks: number,
    directory: string,
    line: RegExp,
    then: (children: ReturnType<typeof startCream>['child'][]) => void,
  ) {
    const args = ['run', recipe, '--out', directory];
    const { children, finished } = await startRanks(ranks, args, pauseAt(line));
    await whilePaused(children[0]!, () => then(children));
    return finished;
  }
  const firstStep = /"type":"step".*"phase":1,/;

  it.each([
    [2, 1],
    [1, 2],
  ])('stopped in training on %i goes on with %i', async (before, after) => {
    const directory = join(work, `resume-${before}-${after}`);
    const stopped = await interrupted(before, directory, firstStep, ([first]) =>
      first!.kill('SIGTERM'),
    );
    expect(stopped[0]!.code).toBe(143);
    const saved = readdirSync(join(directory, 'iteration-1/training'));
    expect(saved.filter((name) => name.endsWith('.safetensors'))).toEqual(
      before === 1
        ? ['state.safetensors']
        : [1, 2].map((i) => expect.stringMatching(`state-[1-9].0000${i}-of-00002.safetensors`)),
    );
    await succeeds(after, directory);
    agree(directory, 'sft', 1e-2);
    const files = Object.keys(artefacts(directory));
    expect(files).toEqual(Object.keys(expected));
  });

  it('says in one sentence that a rank was killed, and goes on', async () => {
    const directory = join(work, 'killed');
    const all = await interrupted(2, directory, firstStep, ([, second]) => second!.kill('SIGKILL'));
    expect(all[1]!.signal).toBe('SIGKILL');
    expect(all[0]!.code).toBe(1);
    expect(all[0]!.stderr.trim().split('\n').at(-1)).toMatch(
      /^cream: (Rank 0 ends because rank 1 of 2|.*an operation of all ranks failed)/,
    );
    await succeeds(2, directory);
    expect(Object.keys(artefacts(directory))).toEqual(Object.keys(expected));
  });

  it('ends the others when rank 0 is killed, and goes on', async () => {
    const directory = join(work, 'killed-first');
    const all = await interrupted(2, directory, firstStep, ([first]) => first!.kill('SIGKILL'));
    expect(all[0]!.signal).toBe('SIGKILL');
    expect(all[1]!.code).toBe(1);
    expect(all[1]!.stderr.trim().split('\n').at(-1)).toMatch(
      /^cream: (Rank 1 ends because the store at .* has closed|.*store .*does not answer|.*failed)/,
    );
    await succeeds(2, directory);
    expect(Object.keys(artefacts(directory))).toEqual(Object.keys(expected));
  });

  it('fails on every rank where one of them cannot go on', async () => {
    const all = await creamOnRanks(
      2,
      'run',
      recipe,
      '--out',
      join(work, 'wrong'),
      '--set',
      'seed=x',
    );
    expect(all.map(({ code }) => code)).toEqual([2, 2]);
  });
});

describe('variables of a launcher that are wrong', () => {
  const complete = {
    WORLD_SIZE: '2',
    RANK: '0',
    LOCAL_RANK: '0',
    LOCAL_WORLD_SIZE: '2',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: '29500',
  };
  it.each([
    [{ ...complete, MASTER_PORT: '' }, 'WORLD_SIZE is above 1, and MASTER_PORT is not set'],
    [{ ...complete, MASTER_ADDR: '' }, 'WORLD_SIZE is above 1, and MASTER_ADDR is not set'],
    [{ ...complete, RANK: '2' }, "RANK is '2', not a number from 0 to 1"],
    [{ ...complete, RANK: '' }, 'WORLD_SIZE is above 1, and RANK is not set'],
    [{ ...complete, LOCAL_RANK: '2' }, "LOCAL_RANK is '2', not a number from 0 to 1"],
    [
      { ...complete, LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '1' },
      'LOCAL_RANK is 1, and LOCAL_WORLD_SIZE is 1',
    ],
    [{ WORLD_SIZE: 'two' }, "WORLD_SIZE is 'two', not a number"],
    [{ WORLD_SIZE: '0' }, "WORLD_SIZE is '0', not a number"],
    [{ RANK: '1' }, 'RANK is 1, and WORLD_SIZE is not set'],
  ])('are named, and nothing runs (%#)', async (env, sentence) => {
    const directory = join(work, 'wrong-variables');
    writeFileSync(recipe, settings());
    const { code, stderr } = await startCream(['run', recipe, '--out', directory], env).finished;
    expect(code).toBe(1);
    expect(stderr.trim()).toBe(`cream: [parallel] ${sentence}${stderr.trim().split(sentence)[1]}`);
    expect(stderr).toContain('; start the run with torchrun, which sets these variables, or unset');
    expect(existsSync(directory)).toBe(false);
  });
});

(gloo ? describe : describe.skip)('a rank whose others do not come', () => {
  it('says that it waits, and ends at once when it is stopped', async () => {
    const { children, finished } = await startRanks(3, ['run', recipe, '--out', join(work, 'few')]);
    children[2]!.kill('SIGKILL');
    const told = new Promise<string>((resolve) => {
      let text = '';
      children[0]!.stderr!.on('data', (data) => {
        text += String(data);
        if (text.includes('waits')) resolve(text);
      });
    });
    expect(await told).toContain('cream: Rank 0 waits for the other ranks: 2 of 3 have joined.');
    const began = performance.now();
    for (const child of children) child.kill('SIGTERM');
    const all = await finished;
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(all.slice(0, 2).map(({ code }) => code)).toEqual([143, 143]);
  });
});

describe('a command for one process', () => {
  it('refuses to run once per rank', async () => {
    const env = { WORLD_SIZE: '2', RANK: '1' };
    const { code, stderr } = await startCream(['chat', 'nothing'], env).finished;
    expect(code).toBe(2);
    expect(stderr).toContain('cream chat works in one process, and WORLD_SIZE is 2');
  });
});
