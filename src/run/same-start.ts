/**
 * Whether all ranks of a run were started with the same recipe, run directory, models and versions.
 * Otherwise results would depend on the rank that happens to compute them.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { modelDigest, resolveModel } from '../models/resolve.js';
import { RunError } from './errors.js';
import { firstDifference } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { rewardModelDigest } from './sources.js';
import { LOCK } from './store.js';
import type { Start } from './team.js';
import { versionsOf } from './versions.js';

/** Shared storage may show a new file late. */
const LATE_MS = 15_000;
const LOOK_MS = 100;

/** The recipe and the run directory that a rank was started with. */
export type OwnStart = Pick<Start, 'recipe' | 'directory'>;

/** Rank 0's start, with the digests of the base `model` and of the run's other `inputs`. */
export function startOf(
  recipe: Recipe,
  directory: string,
  model: string,
  inputs: Readonly<Record<string, string>>,
): Start {
  const { source, model: judge } = recipe.reward;
  return {
    recipe,
    directory: resolve(directory),
    lock: readFileSync(join(directory, LOCK), 'utf8'),
    model,
    rewardModel: source === 'model' && judge !== null ? inputs[judge] : undefined,
    versions: versionsOf(recipe),
  };
}

/**
 * The path of the base model on this rank. @throws RunError if it was started with anything else
 * than rank 0, or does not see its run directory
 */
export async function agreedBase(
  start: Start,
  own: OwnStart,
  { signal, lateMs = LATE_MS }: { signal: AbortSignal; lateMs?: number },
): Promise<string> {
  const refuse = (what: string): never => {
    throw new RunError('ERR_RUN_MISMATCH', `This rank ${what}`);
  };
  const { recipe, directory } = start;
  const versions = versionsOf(own.recipe);
  for (const name of ['cream', 'torch'] as const)
    if (versions[name] !== start.versions[name])
      refuse(
        `runs ${name} ${versions[name]} and rank 0 ${start.versions[name]}: install the same ` +
          'versions on all machines.',
      );
  const difference = firstDifference(start.recipe, own.recipe);
  if (difference)
    refuse(
      `was started with ${difference.key} = ${difference.b} and rank 0 with ${difference.a}: ` +
        'start all ranks with the same recipe.',
    );
  if (versions.kernels !== start.versions.kernels)
    refuse(
      `has kernels for ${versions.kernels} and rank 0 for ${start.versions.kernels}, which round ` +
        'differently: use machines of one kind, or set CREAM_CPU_LEVEL to the lower level on all.',
    );
  if (!isSameFolder(own.directory, directory))
    refuse(
      `was started with the run directory ${resolve(own.directory)} and rank 0 with ` +
        `${directory}: give all ranks the same one, and start them in the same folder if it is ` +
        'relative.',
    );
  if (!(await sees(join(directory, LOCK), start.lock, lateMs)))
    refuse(
      `does not see rank 0's ${directory}: the run directory must lie on storage that all ` +
        'machines share, under the same path.',
    );
  const resolved = await resolveModel(recipe.model, { signal });
  if ((await modelDigest(resolved, signal)) !== start.model)
    refuse(`has other weights of ${recipe.model} than rank 0: give all machines the same.`);
  if ((await rewardModelDigest(recipe, signal)) !== start.rewardModel)
    refuse(`has other weights of ${recipe.reward.model} than rank 0: give all machines the same.`);
  return resolved.path;
}

/** Links may give a folder several names. */
function isSameFolder(one: string, other: string): boolean {
  if (resolve(one) === resolve(other)) return true;
  try {
    return realpathSync(one) === realpathSync(other);
  } catch {
    return false;
  }
}

/** Whether the file has this text within `lateMs`. */
async function sees(path: string, text: string, lateMs: number): Promise<boolean> {
  const until = performance.now() + lateMs;
  for (;;) {
    try {
      if (readFileSync(path, 'utf8') === text) return true;
    } catch {
      // It is not there yet.
    }
    if (performance.now() > until) return false;
    await setTimeout(LOOK_MS);
  }
}
