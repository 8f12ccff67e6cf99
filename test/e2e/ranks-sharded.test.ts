/**
 * Runs on two ranks whose weights are sharded (`train.shard: weights`): every file is that of a run
 * whose ranks have all weights.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processGroups } from '../../src/engine/ranks.js';
import { artefacts, cream } from '../support/cli.js';
import { runOf, runsOnTwo, stopsOnTwo } from '../support/ranks.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const { gloo } = processGroups();
if (!gloo) console.warn('skip runs with sharded weights: this build has no Gloo');
const onRanks = gloo ? describe : describe.skip;

const work = temporaryFolder('cream-ranks-sharded-');
const recipe = join(work, 'recipe.yaml');
const SHARDED = ['train.shard=weights', 'sft.shard=weights'];

beforeAll(() =>
  writeFileSync(
    recipe,
    `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
seed: 7
threads: 1
iterations: 2
prompts: {count: 8}
sft: {enabled: true, count: 4, batch_size: 2, learning_rate: 1.0e-3}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 4}
score: {save_prompts: 4}
rank: {weighting: fixed}
train: {learning_rate: 1.0e-2, batch_size: 2, epochs: 2, save_steps: 1}
evaluate: {tasks: []}
`,
  ),
);

const onTwo = (directory: string, keys: readonly string[]) => runsOnTwo(recipe, directory, keys);
/** Stops a run after its first step of preference training. */
const stopped = (directory: string, keys: readonly string[]) =>
  stopsOnTwo(recipe, directory, keys, /"type":"step".*"phase":1,/);

/** The artefacts that do not quote the recipe. */
const results = (directory: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(artefacts(directory)).filter(([name]) =>
      /^(sft|iteration-\d+)\/.*\.(jsonl|safetensors)$/.test(name),
    ),
  );

onRanks('sharded weights', () => {
  it('make the files that whole weights make, also after a stop', async () => {
    const [whole, sharded, resumed] = ['whole', 'sharded', 'resumed'].map((n) => join(work, n));
    await onTwo(whole!, []);
    await onTwo(sharded!, SHARDED);
    const expected = results(whole!);
    expect(Object.keys(expected)).toContain('iteration-2/checkpoint/model.safetensors');
    expect(results(sharded!)).toEqual(expected);
    await stopped(resumed!, SHARDED);
    await onTwo(resumed!, SHARDED);
    expect(results(resumed!)).toEqual(expected);
    expect(await cream('verify', resumed!)).toMatchObject({ code: 0 });
  }, 240_000);

  it('go on in one process', async () => {
    const directory = join(work, 'alone');
    await stopped(directory, SHARDED);
    const { code, stderr } = await cream(...runOf(recipe, directory, SHARDED));
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    expect(existsSync(join(directory, 'iteration-2/checkpoint/model.safetensors'))).toBe(true);
  }, 240_000);

  it.each([
    ['an evaluation', ['evaluate.every=1', 'evaluate.pairs=2', 'evaluate.patience=1']],
    ['KTO', ['train.loss=kto']],
  ])(
    'are gathered for %s between two steps',
    async (name, keys) => {
      const few = [...keys, 'iterations=1', 'sft.enabled=false', 'train.learning_rate=0.05'];
      const [whole, sharded] = ['whole', 'sharded'].map((n) => join(work, `${name}-${n}`));
      await onTwo(whole!, few);
      await onTwo(sharded!, [...few, SHARDED[0]!]);
      expect(results(sharded!)).toEqual(results(whole!));
    },
    240_000,
  );
});

describe('sharded weights with LoRA', () => {
  it('are refused', async () => {
    const keys = ['lora.enabled=true', 'train.shard=weights'];
    const { code, stderr } = await cream(...runOf(recipe, join(work, 'lora'), keys));
    expect(code).toBe(2);
    expect(stderr).toContain('train.shard: must be optimizer where lora.enabled is true');
  }, 60_000);
});
