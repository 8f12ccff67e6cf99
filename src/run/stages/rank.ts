/**
 * Rank: rewards → rankings, consistency and preference pairs. Arithmetic only: src/preference holds
 * it.
 */
import type { CompletionRecord, RewardRecord, ScoreRecord } from '../../data/records.js';
import { prefer, type Preferences } from '../../preference/prefer.js';
import type { Recipe } from '../recipe.js';

/** What a judge made of the completions of an iteration. */
export interface Judged {
  rewards: RewardRecord[];
  /** Prompts that could not be judged. */
  unjudged: string[];
  /** Whether the two rankings come from two judges, so that their agreement says something. */
  measured: boolean;
}

export function rank(
  { rewards, unjudged, measured }: Judged,
  scores: readonly ScoreRecord[],
  completions: readonly CompletionRecord[],
  settings: Recipe['rank'],
): Preferences {
  return prefer({
    rewards,
    scores,
    completions,
    unjudged,
    oneJudge: !measured,
    method: settings.consistency,
    weighting:
      settings.weighting === 'fixed'
        ? { method: 'fixed', value: settings.fixed_consistency }
        : { method: settings.weighting },
    minMargin: settings.min_margin,
    minConsistency: settings.min_consistency,
  });
}
