/** The disk space that a run needs at its peak, checked before it begins. */
import { statfs } from 'node:fs/promises';
import type { ModelConfig } from '../engine/model.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';

type Shape = Pick<
  ModelConfig,
  | 'parameters'
  | 'numLayers'
  | 'numHeads'
  | 'numKvHeads'
  | 'headDim'
  | 'hiddenSize'
  | 'intermediateSize'
>;

/** Parameters of a model's adapters: rank · (inputs + outputs) for every matrix that has one. */
export function adapterParameters(
  { numLayers, numHeads, numKvHeads, headDim, hiddenSize: hidden, intermediateSize: mlp }: Shape,
  { rank, target_modules: targets }: Pick<Recipe['lora'], 'rank' | 'target_modules'>,
): number {
  const [queries, keys] = [numHeads * headDim, numKvHeads * headDim];
  const widths: Record<string, number> = {
    q_proj: hidden + queries,
    k_proj: hidden + keys,
    v_proj: hidden + keys,
    o_proj: queries + hidden,
    gate_proj: hidden + mlp,
    up_proj: hidden + mlp,
    down_proj: mlp + hidden,
    // Phi-3 stores these as one matrix each.
    qkv_proj: hidden + queries + 2 * keys,
    gate_up_proj: hidden + 2 * mlp,
  };
  const all = Object.keys(widths).slice(0, 7);
  const names = targets.length === 0 ? all : targets.map((name) => name.split('.').at(-1)!);
  const each = [...new Set(names)].reduce((sum, name) => sum + (widths[name] ?? 0), 0);
  return rank * numLayers * each;
}

/**
 * Bytes at the peak: the checkpoints that `keep` leaves, the one being written, and the trainer
 * state; with LoRA those of the adapters, in float32.
 */
export function diskBytes(
  { iterations, keep, sft, train, lora, temporal }: Recipe,
  shape: Shape,
): number {
  const parameters = lora.enabled ? adapterParameters(shape, lora) : shape.parameters;
  const bytesOf = ({ checkpoint_dtype: dtype }: Recipe['train'] | Recipe['sft']) =>
    (dtype === 'float32' ? 4 : 2) * parameters;
  // The last `keep`, the best one and the new one.
  const kept = keep === 'all' ? iterations : Math.min(iterations, keep + 2);
  const checkpoints = kept + (temporal.future_chosen ? 1 : 0);
  const states = [...(sft.enabled ? [sft] : []), ...(iterations > 0 ? [train] : [])].map(
    ({ optimizer_states: moments }) => (4 + (moments === '8bit' ? 2 : 8)) * parameters,
  );
  return (sft.enabled ? bytesOf(sft) : 0) + checkpoints * bytesOf(train) + Math.max(0, ...states);
}

/**
 * Bytes of the host's memory between two trainings: a bfloat16 model whose weights are all trained
 * keeps the float32 master weights that its checkpoint contains, and the next training starts from
 * them.
 */
export function keptMasterBytes(
  { dtype, lora, sft, train, iterations }: Recipe,
  parameters: number,
): number {
  const trained = [...(sft.enabled ? [sft] : []), ...(iterations > 0 ? [train] : [])];
  const kept = trained.some(({ checkpoint_dtype: saved }) => saved === 'float32');
  return dtype === 'bfloat16' && !lora.enabled && kept ? 4 * parameters : 0;
}

/** @throws RunError if the disk of `directory` has less space than the run needs */
export async function checkDisk(directory: string, recipe: Recipe, shape: Shape): Promise<void> {
  const needed = diskBytes(recipe, shape);
  const { bavail, bsize } = await statfs(directory);
  if (needed <= bavail * bsize) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new RunError(
    'ERR_DISK',
    `The run needs up to ${gb(needed)} in ${directory} for checkpoints and the trainer state, ` +
      `and its disk has ${gb(bavail * bsize)} left: clear some space, choose another run ` +
      'directory, or ' +
      (recipe.lora.enabled
        ? 'lower keep or lora.rank.'
        : 'set checkpoint_dtype to bfloat16 or lora.enabled to true.'),
  );
}
