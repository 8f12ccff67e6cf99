/** The threads and the device of a rank. */
import { availableParallelism } from 'node:os';
import type { RankPlace } from '../engine/ranks.js';
import type { Recipe } from './recipe.js';

/** The recipe's threads, or an equal part of the machine's cores for each of its ranks. */
export function threadsOf({ threads }: Pick<Recipe, 'threads'>, { localSize }: RankPlace): number {
  return threads > 0 ? threads : Math.max(1, Math.floor(availableParallelism() / localSize));
}

/** The recipe with the device of this rank: `cuda` is the GPU of its number on the machine. */
export function placed(recipe: Recipe, { localRank }: RankPlace): Recipe {
  return recipe.device === 'cuda' ? { ...recipe, device: `cuda:${localRank}` } : recipe;
}
