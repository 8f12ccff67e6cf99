/** What a rank computes on: its threads and its device. */
import { availableParallelism } from 'node:os';
import type { RankPlace } from '../engine/ranks.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';

/** The recipe's threads, or an equal part of the machine's cores for each of its ranks. */
export function threadsOf({ threads }: Pick<Recipe, 'threads'>, { localSize }: RankPlace): number {
  return threads > 0 ? threads : Math.max(1, Math.floor(availableParallelism() / localSize));
}

/** The recipe with the device of this rank: `cuda` is the GPU of its number on the machine. */
export function placed(recipe: Recipe, { localRank }: RankPlace): Recipe {
  return recipe.device === 'cuda' ? { ...recipe, device: `cuda:${localRank}` } : recipe;
}

/** @throws RunError for a recipe with work that is not shared among ranks */
export function checkShared(recipe: Pick<Recipe, 'evaluate' | 'temporal'>, size: number): void {
  const keys = {
    'evaluate.every': recipe.evaluate.every > 0,
    'temporal.anchored_rejection': recipe.temporal.anchored_rejection,
    'temporal.future_chosen': recipe.temporal.future_chosen,
  };
  const key = Object.entries(keys).find(([, used]) => used)?.[0];
  if (key !== undefined)
    throw new RunError(
      'ERR_RECIPE',
      `${key} works in one process only, and WORLD_SIZE is ${size}: start the run without ` +
        `torchrun, or leave ${key} out.`,
    );
}
