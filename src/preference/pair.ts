/**
 * One preference pair a prompt (CREAM, arXiv 2410.12735): y⁺ = argmax r_t(x, y), y⁻ = argmin r_t(x, y).
 *
 * Under the ordinal ranks of rank.ts these are rank 1 and rank N. A prompt that yields no pair says why in `skipped`; it stays in the
 * rankings, so that nothing after it moves (the official code filters one list and not the other, and every later prompt gets
 * another's C).
 */
import type { CompletionRecord, PairRecord, RankingRecord, ScoreRecord } from '../data/records.js';

export type SkipReason = NonNullable<RankingRecord['skipped']>;

/** A completion with its scores: what a pair is made of. */
export interface ScoredCompletion {
  completion: CompletionRecord;
  score: ScoreRecord;
}

/** Positions of the best and the worst sample within the ranking's arrays. */
export function bestAndWorst(ranking: RankingRecord): { best: number; worst: number } {
  return { best: ranking.rank_current.indexOf(1), worst: ranking.rank_current.indexOf(ranking.samples.length) };
}

/** Why `ranking` yields no pair, or undefined where it does. `texts` runs parallel to `ranking.samples`. */
export function skipReason(ranking: RankingRecord, texts: readonly string[], minMargin: number): SkipReason | undefined {
  if (ranking.samples.length < 2) return 'too_few_completions';
  const { best, worst } = bestAndWorst(ranking);
  const margin = ranking.reward_current[best]! - ranking.reward_current[worst]!;
  if (margin === 0) return 'all_equal';
  // The same words twice: the loss would push one sequence up and down at once.
  if (texts[best] === texts[worst]) return 'identical_pair';
  return margin < minMargin ? 'below_threshold' : undefined;
}

/** The pair of a ranking that is not skipped; `scored` runs parallel to `ranking.samples`. */
export function makePair(ranking: RankingRecord, scored: readonly ScoredCompletion[], weight: number): PairRecord {
  const { best, worst } = bestAndWorst(ranking);
  const chosen = scored[best]!, rejected = scored[worst]!;
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
    reward_chosen: ranking.reward_current[best]!,
    reward_rejected: ranking.reward_current[worst]!,
    consistency: ranking.consistency,
    weight,
  };
}
