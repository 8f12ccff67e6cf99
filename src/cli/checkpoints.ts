/**
 * A run directory in place of a model: its newest checkpoint, and the base model it began with; a
 * folder of one of its iterations likewise.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { readOwnText } from '../run/own-files.js';
import { RunError } from '../run/errors.js';
import { isRun } from '../run/run-folder.js';
import { parseRecipe } from '../run/recipe-file.js';
import { isPhaseFolder, RECIPE } from '../run/store.js';

/**
 * The checkpoint of the last trained iteration of a run, else of its SFT; of an iteration's folder
 * its own; other names as given.
 */
export function modelOrCheckpoint(name: string): string {
  if (isPhaseOfRun(name)) return checkpointOfPhase(name);
  if (!existsSync(join(name, RECIPE))) return name;
  const iterations = readdirSync(name)
    .flatMap((entry) => /^iteration-(\d+)$/.exec(entry)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
  const folders = [...iterations.map((t) => `iteration-${t}`), 'sft'];
  const checkpoints = folders
    .map((folder) => join(name, folder, 'checkpoint'))
    .filter((checkpoint) => existsSync(checkpoint));
  // The newest may be half-written: its steps are written after it.
  const found = checkpoints.find((path) => existsSync(join(path, '../steps.jsonl')));
  // One that was taken from elsewhere has no steps.
  const newest = found ?? checkpoints.at(-1);
  if (newest !== undefined) return newest;
  if (!isRun(name)) return name;
  throw new RunError(
    'ERR_RUN_DATA',
    `The run in ${name} has no checkpoint yet: let its first training finish.`,
  );
}

function checkpointOfPhase(folder: string): string {
  const checkpoint = join(folder, 'checkpoint');
  if (existsSync(checkpoint)) return checkpoint;
  throw new RunError(
    'ERR_RUN_DATA',
    `${folder} has no checkpoint: name another iteration, or the run directory for its newest one.`,
  );
}

/** Whether `name` is a folder such as `iteration-1` in a run directory. */
const isPhaseOfRun = (name: string): boolean =>
  isPhaseFolder(basename(resolve(name))) && existsSync(name) && isRun(join(name, '..'));

/** The base model of a run directory or of a checkpoint in one, null for any other name. */
export function baseOfRun(name: string): string | null {
  // A hub id such as org/name is no path.
  if (!existsSync(name)) return null;
  const run = [name, join(name, '..'), join(name, '../..')].find(isRun);
  if (run === undefined) return null;
  const recipe = join(run, RECIPE);
  return parseRecipe(readOwnText(recipe, 'recipe'), recipe).model;
}
