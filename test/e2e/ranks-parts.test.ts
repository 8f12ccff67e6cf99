/**
 * Parts of a run in which rank 0 decides and the others follow: evaluation in training with early
 * stopping, and the other models of temporal self-rewarding.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processGroups } from '../../src/engine/ranks.js';
import { bestStep } from '../../src/run/stages/in-training.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { artefacts, cream } from '../support/cli.js';
import { runOf, runsOnTwo, stopsOnTwo } from '../support/ranks.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const { gloo } = processGroups();
const onRanks = gloo ? describe : describe.skip;

const work = temporaryFolder('cream-ranks-parts-');
const recipe = join(work, 'recipe.yaml');

beforeAll(() =>
  writeFileSync(
    recipe,
    `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
seed: 7
threads: 1
iterations: 1
prompts: {count: 10}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 3}
score: {save_prompts: 3}
rank: {weighting: fixed}
train: {learning_rate: 1.0e-2, batch_size: 2, epochs: 3, save_steps: 1}
`,
  ),
);

async function alone(directory: string, keys: readonly string[]): Promise<void> {
  const { code, stderr } = await cream(...runOf(recipe, directory, keys));
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
}
const onTwo = (directory: string, keys: readonly string[]) => runsOnTwo(recipe, directory, keys);
/** Stops a run after its first step of preference training. */
const stopped = (directory: string, keys: readonly string[]) =>
  stopsOnTwo(recipe, directory, keys, /"type":"step"/);

const steps = (directory: string, phase: string): StepRecord[] =>
  readFileSync(join(directory, phase, 'steps.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as StepRecord);

onRanks('evaluation in training on two ranks', () => {
  const MARGIN = ['evaluate.tasks=[]', 'evaluate.every=1', 'evaluate.pairs=2'];

  it('measures the held-out pairs that one process holds out', async () => {
    const [one, two] = [join(work, 'margin-1'), join(work, 'margin-2')];
    await alone(one, MARGIN);
    await onTwo(two, MARGIN);
    const [expected, found] = [steps(one, 'iteration-1'), steps(two, 'iteration-1')];
    expect(found).toHaveLength(expected.length);
    for (const [i, step] of found.entries()) {
      expect(step.num_tokens).toBe(expected[i]!.num_tokens);
      for (const column of ['loss', 'eval/rewards/margins'] as const)
        expect(step[column]).toBeCloseTo(expected[i]![column]!, 1);
    }
    expect(found[0]!['eval/rewards/margins']).toBeCloseTo(expected[0]!['eval/rewards/margins']!, 4);
  });

  it('stops early on all ranks, keeps the best weights, and the same after a resume', async () => {
    const keys = [...MARGIN, 'train.learning_rate=0.05', 'evaluate.patience=1'];
    const whole = join(work, 'early');
    await onTwo(whole, keys);
    const all = steps(whole, 'iteration-1');
    const best = bestStep({ column: 'eval/rewards/margins' }, all)!;
    expect(all).toHaveLength(best + 1);
    expect(await cream('verify', whole)).toMatchObject({ code: 0 });

    const resumed = join(work, 'early-resumed');
    await stopped(resumed, keys);
    await onTwo(resumed, keys);
    expect(artefacts(resumed)).toEqual(artefacts(whole));
  });

  it('stops early on a task', async () => {
    const directory = join(work, 'accuracy');
    await onTwo(directory, [
      'evaluate.tasks=[builtin]',
      'evaluate.count=3',
      'evaluate.max_new_tokens=4',
      'evaluate.every=1',
      'evaluate.metric=accuracy',
      'evaluate.patience=1',
    ]);
    // A tiny model answers nothing right, so the second evaluation is no better than the first.
    expect(steps(directory, 'iteration-1').map((step) => step['eval/accuracy'])).toEqual([0, 0]);
  });
});

onRanks('an adapter on two ranks', () => {
  it('has one state, which rank 0 saves and both resume from', async () => {
    const keys = ['evaluate.tasks=[]', 'lora.enabled=true', 'lora.dropout=0.1'];
    const [whole, resumed] = [join(work, 'lora'), join(work, 'lora-resumed')];
    await onTwo(whole, keys);
    await stopped(resumed, keys);
    expect(existsSync(join(resumed, 'iteration-1/training/state.safetensors'))).toBe(true);
    await onTwo(resumed, keys);
    expect(artefacts(resumed)).toEqual(artefacts(whole));
  });
});

onRanks('temporal self-rewarding on two ranks', () => {
  it('samples and scores from other models what one process does, and trains both', async () => {
    const keys = [
      'evaluate.tasks=[]',
      'evaluate.every=2',
      'evaluate.pairs=2',
      'train.loss=kto',
      'temporal.anchored_rejection=true',
      'temporal.future_chosen=true',
    ];
    const [one, two] = [join(work, 'temporal-1'), join(work, 'temporal-2')];
    await alone(one, keys);
    await onTwo(two, keys);
    const [expected, found] = [artefacts(one), artefacts(two)];
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    const before = ['completions', 'initial/completions', 'initial/scores', 'future/pairs'];
    for (const name of [...before, 'future/mismatched'].map((n) => `iteration-1/${n}.jsonl`))
      expect({ name, sha: found[name] }).toEqual({ name, sha: expected[name] });
    const [own, other] = [steps(two, 'iteration-1/future'), steps(one, 'iteration-1/future')];
    expect(own).toHaveLength(other.length);
    expect(Math.abs(own[0]!.grad_norm / other[0]!.grad_norm - 1)).toBeLessThan(1e-2);
    expect(own[0]!['kto/kl']).toBe(other[0]!['kto/kl']);
    expect(steps(two, 'iteration-1').length).toBeGreaterThan(0);
    expect(existsSync(join(two, 'iteration-1/future/checkpoint'))).toBe(false);
  });
});
