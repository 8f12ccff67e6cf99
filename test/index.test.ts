/**
 * The public API in a Node program: a run with a reward function, by the names that the package
 * exports.
 */
import { describe, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as cream from '../src/index.js';
import type { PairRecord, RewardFunction, RunEvent } from '../src/index.js';
import { readRecords } from '../src/data/jsonl.js';
import { PAIR_COLUMNS } from '../src/data/columns.js';
import { TINY } from './support/run.js';
import { temporaryFolder, tinyModel } from './support/tiny-model.js';

describe('the package', () => {
  it('runs a recipe with a reward function and reports events', async () => {
    const directory = join(temporaryFolder(), 'run');
    const shortest: RewardFunction = (batch) => batch.map(({ completion }) => -completion.length);
    const recipe = cream.parseRecipe(TINY, 'recipe', [
      'reward.source=function',
      'rank.weighting=fixed',
      'sample.samples=4',
      'sample.max_new_tokens=16',
    ]);
    const told: RunEvent['type'][] = [];
    for await (const event of cream.run(recipe, { directory, rewards: shortest }))
      told.push(event.type);
    expect(told[0]).toBe('run_started');
    expect(told.at(-1)).toBe('run_finished');
    const pairs: PairRecord[] = await readRecords(
      join(directory, 'iteration-1/pairs.jsonl'),
      PAIR_COLUMNS,
    );
    for (const { chosen, rejected } of pairs)
      expect(chosen[0]!.content.length).toBeLessThan(rejected[0]!.content.length);
  });

  it('names its errors', async () => {
    await expect(cream.loadModel('./no/such/folder')).rejects.toThrow(cream.ModelError);
    const damaged = tinyModel({ tokenizer: true });
    writeFileSync(join(damaged, 'tokenizer.json'), '{}');
    await expect(cream.loadModel(damaged)).rejects.toThrow(cream.TextError);
    await expect(cream.Model.load('./no/such/folder')).rejects.toThrow(cream.CreamError);
    expect(() => cream.parseRecipe('iterations: 0', 'mine.yaml')).toThrow(cream.RunError);
    expect(() => cream.parseRecipe('iterations: 0', 'mine.yaml')).toThrow(
      'mine.yaml:1:13 iterations: must be at least 1 where sft.enabled is false',
    );
  });
});
