/**
 * Rules between keys of a recipe. Each message states the required value and the key that requires
 * it. recipe-effect.ts finds settings that are merely unused.
 */
import { isExternal } from '../reward/reward.js';
import type { Recipe } from './recipe.js';

export interface Contradiction {
  path: string[];
  message: string;
}

/** The rules that `recipe` breaks. */
export function contradictions(recipe: Recipe): Contradiction[] {
  return [...ofMethod(recipe), ...ofReward(recipe)];
}

function ofMethod({ iterations, sft, pairs, lora, evaluate, ...recipe }: Recipe): Contradiction[] {
  const found: Contradiction[] = [];
  for (const [section, settings] of [
    ['sft', sft],
    ['train', recipe.train],
  ] as const) {
    if (lora.enabled && settings.master_weights !== 'float32')
      found.push({
        path: [section, 'master_weights'],
        message:
          "must be float32 where lora.enabled is true: an adapter's masters are small and " +
          'kept whole',
      });
    if (lora.enabled && settings.shard !== 'optimizer')
      found.push({
        path: [section, 'shard'],
        message:
          'must be optimizer where lora.enabled is true: every GPU keeps the frozen weights, ' +
          'which the other models use too',
      });
  }
  if (iterations === 0 && !sft.enabled)
    found.push({
      path: ['iterations'],
      message: 'must be at least 1 where sft.enabled is false: there would be nothing to do',
    });
  if (evaluate.every > 0 && evaluate.metric === 'accuracy' && evaluate.tasks.length === 0)
    found.push({
      path: ['evaluate', 'tasks'],
      message: 'must name a task if evaluate.metric is accuracy',
    });
  if (pairs.source !== null && iterations !== 1)
    found.push({
      path: ['iterations'],
      message:
        'must be 1 where pairs.source gives the pairs: they are learnt in one iteration ' +
        '(train.epochs passes over them again)',
    });
  return found;
}

function ofReward({ iterations, reward, rank }: Recipe): Contradiction[] {
  const { source, against } = reward;
  const external = isExternal(source);
  const found: Contradiction[] = [];
  const refuse = (path: string[], message: string) => found.push({ path, message });
  if (source === 'model' && reward.model === null)
    refuse(['reward', 'model'], 'must name the reward model where reward.source is model');
  if (source === 'file' && reward.file === null)
    refuse(['reward', 'file'], 'must name the file of scores where reward.source is file');
  if (source === 'file' && reward.file !== null && iterations > 1 && !reward.file.includes('{t}'))
    refuse(
      ['reward', 'file'],
      'must contain {t}, the number of the iteration, where iterations is above 1: each has ' +
        'completions of its own',
    );
  const kinds: readonly string[] = [source, against];
  if (reward.length === 'mean' && kinds.includes('likelihood') && !kinds.includes('implicit'))
    refuse(
      ['reward', 'length'],
      `has no effect here: a likelihood is a mean already, and no reward is implicit; leave it ` +
        'out, or set it to controlled',
    );
  if (source === 'judge' && (against === 'implicit' || against === 'likelihood'))
    refuse(
      ['reward', 'against'],
      'must be none or own_implicit where reward.source is judge: θ_{t−1} judges too, or θ_t has ' +
        'a second reward',
    );
  // A scores file may have a second source's rewards; stages/reward.ts checks it when it is read.
  if (external && against === 'none' && source !== 'file') {
    const remedy =
      `where reward.source is ${source} and reward.against is none: a single ranking has no ` +
      'consistency (set reward.against to implicit or likelihood to measure one)';
    if (rank.weighting !== 'fixed') refuse(['rank', 'weighting'], `must be fixed ${remedy}`);
    if (rank.min_consistency > 0) refuse(['rank', 'min_consistency'], `must be 0 ${remedy}`);
  }
  return found;
}
