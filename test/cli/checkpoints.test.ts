/** Which folder a name stands for: a run's checkpoint, or the folder itself. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { baseOfRun, modelOrCheckpoint } from '../../src/cli/checkpoints.js';
import { checkDirectory } from '../../src/run/directory.js';
import { temporaryFolder } from '../support/tiny-model.js';

const folder = temporaryFolder('cream-checkpoints-');
const make = (...path: string[]): string => {
  const made = join(folder, ...path);
  mkdirSync(made, { recursive: true });
  return made;
};

it('takes models beside a recipe that is no run as they are', () => {
  const project = make('project');
  writeFileSync(join(project, 'recipe.yaml'), 'model: other\n');
  for (const name of ['sft', 'iteration-1', 'models/mine']) {
    const model = make('project', name);
    expect(modelOrCheckpoint(model)).toBe(model);
    expect(baseOfRun(model)).toBeNull();
  }
  expect(() => checkDirectory(project)).toThrow('is not a run directory and holds');
});

it('takes a run and a folder of it as their checkpoints, with the base model of the run', () => {
  const run = make('run');
  writeFileSync(join(run, 'recipe.yaml'), 'model: other\n');
  writeFileSync(join(run, 'events.jsonl'), '');
  const first = make('run', 'iteration-1', 'checkpoint');
  for (const name of [run, join(run, 'iteration-1'), first]) {
    expect(modelOrCheckpoint(name)).toBe(first);
    expect(baseOfRun(name)).toBe('other');
  }
  expect(() => modelOrCheckpoint(make('run', 'sft'))).toThrow('has no checkpoint');
  expect(() => checkDirectory(run)).not.toThrow();
});
