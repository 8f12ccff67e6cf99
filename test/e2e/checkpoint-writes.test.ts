/**
 * Runs that end while a checkpoint is written beside the next stage: killed, stopped, and with a
 * disk that takes no more.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, cream, startCream } from '../support/cli.js';
import { pauseAt, whilePaused } from '../support/pause.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-writes-');
const recipe = join(work, 'recipe.yaml');
const whole = join(work, 'whole');
let expected: Record<string, string>;

const text = (model: string) => `
model: ${model}
seed: 7
threads: 1
iterations: 2
prompts: {count: 4}
sft: {enabled: true, count: 4, batch_size: 2, learning_rate: 1.0e-3, save_steps: 0}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 2}
score: {save_prompts: 2}
train: {learning_rate: 1.0e-3, batch_size: 2, save_steps: 0}
evaluate: {count: 4, max_new_tokens: 4, save_prompts: 2}
`;
const heads = { numHeads: 2, numKvHeads: 1, maxPositionEmbeddings: 1024, tokenizer: true };

beforeAll(async () => {
  writeFileSync(recipe, text(tinyModel(heads)));
  expect(await cream('run', recipe, '--out', whole)).toMatchObject({ code: 0 });
  expected = artefacts(whole);
});

/** The event of a training stage that has taken its last step. */
const trained = (phase: string) => new RegExp(`"stage_finished".*"phase":${phase}.*"(sft|train)"`);
/** The next stage begins. */
const next = (phase: string, stage: string) =>
  new RegExp(`"stage_started".*"phase":${phase}.*"${stage}"`);

describe('a run that is killed while a checkpoint is written', () => {
  it.each([
    ['after the steps of SFT', trained('"sft"'), 'sft'],
    ['in the evaluation after SFT', next('"sft"', 'evaluate'), 'sft'],
    ['after the steps of an iteration', trained('1'), 'iteration-1'],
    ['in the evaluation after an iteration', next('1', 'evaluate'), 'iteration-1'],
  ])('%s ends with the same bytes', async (name, line, phase) => {
    const directory = join(work, name.replaceAll(' ', '-'));
    const { child, finished } = startCream(['run', recipe, '--out', directory], pauseAt(line));
    await whilePaused(child, () => {
      // The stage is not finished, and nothing of the next one is there.
      expect(existsSync(join(directory, phase, 'steps.jsonl'))).toBe(false);
      expect(existsSync(join(directory, phase, 'answers.jsonl'))).toBe(false);
      child.kill('SIGKILL');
    });
    expect(await finished).toMatchObject({ signal: 'SIGKILL' });
    expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
    expect(artefacts(directory)).toEqual(expected);
    expect(await cream('verify', directory)).toMatchObject({ code: 0 });
  });
});

it('a run that is stopped while a checkpoint is written keeps it', async () => {
  const directory = join(work, 'stopped');
  const { child, finished } = startCream(
    ['run', recipe, '--out', directory],
    pauseAt(trained('1')),
  );
  await whilePaused(child, () => child.kill('SIGINT'));
  expect(await finished).toMatchObject({ code: 130 });
  expect(existsSync(join(directory, 'iteration-1/steps.jsonl'))).toBe(true);
  expect(artefacts(join(directory, 'iteration-1/checkpoint'))).toMatchObject({
    'model.safetensors': expected['iteration-1/checkpoint/model.safetensors'],
  });
  expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
  expect(artefacts(directory)).toEqual(expected);
});

const prlimit = spawnSync('prlimit', ['--version']).status === 0;
(prlimit ? it : it.skip)('a write that fails stops the run with one sentence', async () => {
  const large = join(work, 'large.yaml');
  const model = tinyModel({ ...heads, vocabSize: 40_000 });
  writeFileSync(large, text(model).replace('iterations: 2', 'iterations: 0'));
  const directory = join(work, 'full');
  // No file may be larger than 2 MB; the weights have 5.
  const { finished } = startCream(['run', large, '--out', directory], {}, undefined, [
    'prlimit',
    '--fsize=2000000',
  ]);
  const { code, stderr } = await finished;
  expect(code).toBe(1);
  expect(stderr).toMatch(/Could not write .*sft\/checkpoint\/model\.safetensors: /);
  expect(stderr.split('\n').filter((line) => line.includes('Could not write'))).toHaveLength(1);
  expect(existsSync(join(directory, 'sft/steps.jsonl'))).toBe(false);
  expect(existsSync(join(directory, 'sft/answers.jsonl'))).toBe(false);
  // With room again, the run goes on.
  expect(await cream('run', large, '--out', directory)).toMatchObject({ code: 0 });
});
