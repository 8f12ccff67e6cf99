/** What may change the last bits of a run's numbers. */
import { engineInfo } from '../engine/addon.js';
import type { Recipe } from './recipe.js';

export interface Versions {
  cream: string;
  torch: string;
  /** The level of the CPU's kernels; absent on a GPU. */
  kernels?: string;
}

/** Those of this process, for a run with this recipe. */
export function versionsOf({ device }: Pick<Recipe, 'device'>): Versions {
  const { version, torch, cpu } = engineInfo();
  return { cream: version, torch, ...(device === 'cpu' && { kernels: cpu.level }) };
}
