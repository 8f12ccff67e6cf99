/**
 * One preference pair a prompt (CREAM, arXiv 2410.12735): y⁺ = argmax r_t(x, y), y⁻ = argmin r_t(x,
 * y); of equal rewards the first sample, at both ends. A prompt that yields no pair says why in
 * `skipped`; it stays in the rankings, so that nothing after it moves (the official code filters
 * one list and not the other, and every later prompt gets another's C).
 */
import { firstBest, firstWorst } from './rank.js';
import type { CompletionRecord, PairRecord, RankingRecord, ScoreRecord } from '../data/records.js';

export type SkipReason = NonNullable<RankingRecord['skipped']>;

/** A completion with its scores: what a pair is made of. */
export interface ScoredCompletion {
  completion: CompletionRecord;
  score: ScoreRecord;
}

/** What keeps a prompt from making a pair, beside what cannot make one. */
export interface PairThresholds {
  /** Least reward of best over worst. */
  minMargin: number;
  /** Least C_x. */
  minConsistency: number;
}

/** Positions of the best and the worst sample within the ranking's arrays. */
export function bestAndWorst({ reward_current: rewards }: Pick<RankingRecord, 'reward_current'>): {
  best: number;
  worst: number;
} {
  return { best: firstBest(rewards), worst: firstWorst(rewards) };
}

/**
 * Why `ranking` yields no pair, or undefined where it does. `texts` runs parallel to
 * `ranking.samples`.
 */
export function skipReason(
  ranking: RankingRecord,
  texts: readonly string[],
  { minMargin, minConsistency }: PairThresholds,
): SkipReason | undefined {
  if (ranking.samples.length < 2) return 'too_few_completions';
  const { best, worst } = bestAndWorst(ranking);
  const margin = ranking.reward_current[best]! - ranking.reward_current[worst]!;
  if (margin === 0) return 'all_equal';
  // The same words twice: the loss would push one sequence up and down at once.
  if (texts[best] === texts[worst]) return 'identical_pair';
  // An end-of-turn token alone: the loss would teach silence.
  if (texts[best]!.trim() === '') return 'empty_chosen';
  if (margin < minMargin) return 'below_threshold';
  return ranking.consistency < minConsistency ? 'below_consistency' : undefined;
}

/** The pair of a ranking that is not skipped; `scored` runs parallel to `ranking.samples`. */
export function makePair(
  ranking: RankingRecord,
  scored: readonly ScoredCompletion[],
  weight: number,
): PairRecord {
  const { best, worst } = bestAndWorst(ranking);
  const chosen = scored[best]!;
  const rejected = scored[worst]!;
  return {
    prompt_id: ranking.prompt_id,
    prompt: chosen.completion.prompt,
    chosen: [{ role: 'assistant', content: chosen.completion.completion }],
    rejected: [{ role: 'assistant', content: rejected.completion.completion }],
    chosen_sample: ranking.samples[best]!,
    rejected_sample: ranking.samples[worst]!,
    prompt_token_ids: chosen.completion.prompt_token_ids,
    chosen_token_ids: chosen.completion.token_ids,
    rejected_token_ids: rejected.completion.token_ids,
    // θ_t is the reference of the step that trains it: its scores are the reference log-probs.
    ref_chosen_logps: chosen.score.logp_current,
    ref_rejected_logps: rejected.score.logp_current,
    base_chosen_logps: chosen.score.logp_base,
    base_rejected_logps: rejected.score.logp_base,
    reward_chosen: ranking.reward_current[best]!,
    reward_rejected: ranking.reward_current[worst]!,
    consistency: ranking.consistency,
    weight,
  };
}
