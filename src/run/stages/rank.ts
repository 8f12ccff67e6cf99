/** Rank: scores → rewards → rankings, consistency and preference pairs. Arithmetic only: src/reward and src/preference hold it. */
import type { CompletionRecord, ScoreRecord } from '../../data/records.js';
import { prefer, type Preferences } from '../../preference/prefer.js';
import { rewardSet } from '../../reward/reward.js';
import type { Recipe } from '../recipe.js';

export function rank(scores: readonly ScoreRecord[], completions: readonly CompletionRecord[], settings: Recipe['rank']): Preferences {
  return prefer({
    rewards: rewardSet(scores),
    scores,
    completions,
    method: settings.consistency,
    weighting: settings.weighting === 'fixed' ? { method: 'fixed', value: settings.fixed_consistency } : { method: settings.weighting },
    minMargin: settings.min_margin,
  });
}
