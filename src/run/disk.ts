/** The disk space that a run needs at its peak, checked before it begins. */
import { statfs } from 'node:fs/promises';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';

/**
 * Bytes at the peak: the checkpoints that `keep` leaves, the one being written, and the trainer
 * state. The files of an adapter are small and not counted.
 */
export function diskBytes(
  { iterations, keep, sft, train, lora }: Recipe,
  parameters: number,
): number {
  if (lora.enabled) return 0;
  const bytesOf = ({ checkpoint_dtype: dtype }: Recipe['train'] | Recipe['sft']) =>
    (dtype === 'float32' ? 4 : 2) * parameters;
  // The last `keep`, the best one and the new one.
  const checkpoints = keep === 'all' ? iterations : Math.min(iterations, keep + 2);
  const states = [...(sft.enabled ? [sft] : []), ...(iterations > 0 ? [train] : [])].map(
    ({ optimizer_states: moments }) => (4 + (moments === '8bit' ? 2 : 8)) * parameters,
  );
  return (sft.enabled ? bytesOf(sft) : 0) + checkpoints * bytesOf(train) + Math.max(0, ...states);
}

/** @throws RunError if the disk of `directory` has less space than the run needs */
export async function checkDisk(
  directory: string,
  recipe: Recipe,
  parameters: number,
): Promise<void> {
  const needed = diskBytes(recipe, parameters);
  const { bavail, bsize } = await statfs(directory);
  if (needed <= bavail * bsize) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new RunError(
    'ERR_DISK',
    `The run needs up to ${gb(needed)} in ${directory} for checkpoints and the trainer state, ` +
      `and its disk has ${gb(bavail * bsize)} left: clear some space, choose another --out, or ` +
      'set checkpoint_dtype to bfloat16 or lora.enabled to true.',
  );
}
