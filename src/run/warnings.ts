/**
 * Warnings about a run's consistency before it trains: a C that is 1 by construction, or below ½,
 * where the loss trains the reversed preference.
 */
import { average } from '../data/average.js';
import type { PairRecord, ScoreRecord } from '../data/records.js';
import { isExternal } from '../reward/reward.js';
import type { RunContext } from './context.js';
import type { Recipe } from './recipe.js';

/** Warnings that follow from the recipe alone. */
export function recipeWarnings({ iterations, pairs, sft, reward, rank, train }: Recipe): string[] {
  if (pairs.source !== null || iterations === 0) return [];
  const warnings: string[] = [];
  if (measuresC(reward, rank) && !sft.enabled)
    warnings.push(
      'In iteration 1, C is 1 by construction: without SFT, θ_t and θ_{t−1} are both the base ' +
        'model, and their rankings agree. Set sft.enabled to true, or rank.weighting to fixed if ' +
        'plain self-rewarding DPO is meant.',
    );
  if (train.loss === 'kto' && rank.weighting === 'avg' && measuresC(reward, rank))
    warnings.push(
      'With train.loss kto, C multiplies the gradient by 2C − 1, and rank.weighting avg gives ' +
        'all pairs the same C: AdamW removes that factor but for its sign. Set rank.weighting to ' +
        'dyn to weight each pair by its own C.',
    );
  if (rank.weighting === 'fixed' && rank.fixed_consistency < 0.5)
    warnings.push(
      `C is ${rank.fixed_consistency}, below ½: the loss trains the reversed preference of every ` +
        'pair. Set rank.fixed_consistency to 0.5 or more.',
    );
  return warnings;
}

/** Whether C is measured between θ_t and θ_{t−1} and weights the loss. */
const measuresC = (reward: Recipe['reward'], rank: Recipe['rank']): boolean =>
  !isExternal(reward.source) && reward.against !== 'own_implicit' && rank.weighting !== 'fixed';

/** Emits, once per run, the warnings that follow from scores and pairs of iteration `t`. */
export function warnBeforeTraining(
  run: RunContext,
  t: number,
  scores: readonly ScoreRecord[],
  pairs: readonly PairRecord[],
): void {
  const { reward, rank, sft } = run.recipe;
  const known = t === 1 && !sft.enabled; // recipeWarnings has reported it
  const same = scores.every(({ logp_current: now, logp_previous: before }) => now === before);
  if (measuresC(reward, rank) && !known && same)
    run.warnOnce(
      'constant C',
      `Iteration ${t}: C is 1 by construction: θ_t gives every completion the log-prob that ` +
        'θ_{t−1} gives it, so the previous training changed nothing. Raise ' +
        `${t === 1 ? 'sft' : 'train'}.learning_rate or ${t === 1 ? 'sft' : 'train'}.epochs` +
        `${t === 1 && sft.checkpoint !== null ? ', or name another sft.checkpoint' : ''}.`,
    );
  const weights = weightWarning(pairs, rank.weighting);
  if (weights !== undefined) run.warnOnce('weights', `Iteration ${t}: ${weights}`);
}

/** Where the weights of pairs come from: a recipe, rows of the user's, or `cream prefer`. */
type WeightOrigin = Recipe['rank']['weighting'] | 'given' | 'ranked';

/**
 * A warning about pairs whose weight reverses them or prefers neither completion, with the setting
 * that changes this. A fixed weight below ½ is the user's own; recipeWarnings reports it.
 */
export function weightWarning(
  pairs: readonly PairRecord[],
  origin: WeightOrigin,
): string | undefined {
  const below = pairs.filter(({ weight }) => weight < 0.5);
  if (below.length > 0) return origin === 'fixed' ? undefined : reversal(pairs, below, origin);
  if (pairs.length === 0 || pairs.some(({ weight }) => weight > 0.5)) return undefined;
  const remedy = {
    fixed: 'raise rank.fixed_consistency',
    given: 'give other values in their column consistency',
    ranked: 'rank them again with `cream prefer --weighting fixed` to train plain DPO',
    run: 'set rank.weighting to fixed to train plain DPO',
  };
  return (
    `the weight of all ${pairs.length} pairs is ½, with which the loss prefers neither ` +
    `completion, so no preference is learnt; ${remedy[isOfRun(origin) ? 'run' : origin]}.`
  );
}

const isOfRun = (origin: WeightOrigin): origin is Exclude<Recipe['rank']['weighting'], 'fixed'> =>
  origin !== 'given' && origin !== 'ranked' && origin !== 'fixed';

function reversal(
  pairs: readonly PairRecord[],
  below: readonly PairRecord[],
  origin: Exclude<WeightOrigin, 'fixed'>,
): string {
  const remedy = {
    given: 'remove these rows, or drop their column consistency',
    ranked: 'rank them again with `cream prefer --min-consistency 0.5`, or with --weighting fixed',
    run:
      'set rank.min_consistency to 0.5 to leave prompts with a low C out, ' +
      (origin === 'sign' ? '' : 'rank.consistency_floor to 0.5 to train neither direction, ') +
      'or rank.weighting to fixed',
  }[isOfRun(origin) ? 'run' : origin];
  const mean = average(pairs.map(({ consistency }) => consistency));
  return origin === 'avg' || origin === 'sign'
    ? `the mean C is ${mean.toFixed(2)}, below ½: the loss trains the reversed ` +
        `preference of all ${pairs.length} pairs; ${remedy}.`
    : `${below.length} of ${pairs.length} pairs have a C below ½: the loss trains their reversed ` +
        `preference; ${remedy}.`;
}
