/** A run directory in place of a model: its newest checkpoint, and the base model it began with. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readOwnText } from '../run/own-files.js';
import { RunError } from '../run/errors.js';
import { parseRecipe } from '../run/recipe-file.js';
import { RECIPE } from '../run/store.js';

/** The checkpoint of the last trained iteration of a run, else of its SFT; other names as given. */
export function modelOrCheckpoint(name: string): string {
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
  throw new RunError(
    'ERR_RUN_DATA',
    `The run in ${name} has no checkpoint yet: let its first training finish.`,
  );
}

/** The base model of a run directory or of a checkpoint in one, null for any other name. */
export function baseOfRun(name: string): string | null {
  // A hub id such as org/name is no path.
  if (!existsSync(name)) return null;
  const recipe = [name, join(name, '../..')]
    .map((folder) => join(folder, RECIPE))
    .find((file) => existsSync(file));
  return recipe === undefined ? null : parseRecipe(readOwnText(recipe, 'recipe'), recipe).model;
}
