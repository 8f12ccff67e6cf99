/** The threads and the device of a rank. */
import { availableParallelism } from 'node:os';
import { benchmarkCopy } from '../engine/addon.js';
import type { RankPlace } from '../engine/ranks.js';
import type { Recipe } from './recipe.js';

/** The recipe's threads, or an equal part of the machine's cores for each of its ranks. */
export function threadsOf({ threads }: Pick<Recipe, 'threads'>, { localSize }: RankPlace): number {
  return threads > 0 ? threads : Math.max(1, Math.floor(availableParallelism() / localSize));
}

/**
 * The recipe with the device of this rank: `cuda` is the GPU of its number on the machine, or the
 * only one that the launcher lets it see, as Slurm's --gpus-per-task does.
 */
export function placed<Placed extends Pick<Recipe, 'device'>>(
  recipe: Placed,
  { localRank }: Pick<RankPlace, 'localRank'>,
): Placed {
  if (recipe.device !== 'cuda') return recipe;
  const only = /^[^,]+$/.test(process.env['CUDA_VISIBLE_DEVICES'] ?? '');
  return { ...recipe, device: `cuda:${only ? 0 : localRank}` };
}

/** @throws CreamError as loading a model does, where this build or machine lacks the device */
export async function requireDevice(device: string): Promise<void> {
  if (device !== 'cpu') await benchmarkCopy({ bytes: 4096, device, repeats: 1 });
}
