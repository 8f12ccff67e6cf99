/**
 * Makes one preference pair per prompt (CREAM, arXiv 2410.12735): y⁺ = argmax r_t(x, y) and y⁻ =
 * argmin r_t(x, y); of equal rewards, the first sample is taken at both ends. A prompt without a
 * pair gives the reason in `skipped`. It stays in the rankings, so that every later prompt keeps
 * its own C (the official code filters one of its two lists only, which shifts them against each
 * other).
 */
import { roundingOf } from '../data/ties.js';
import { firstBest, firstWorst } from './rank.js';
import type { CompletionRecord, PairRecord, RankingRecord, ScoreRecord } from '../data/records.js';

export type SkipReason = NonNullable<RankingRecord['skipped']>;

/** A completion with its scores. */
export interface ScoredCompletion {
  completion: CompletionRecord;
  score: ScoreRecord;
}

/** Prompts below these thresholds are skipped. */
export interface PairThresholds {
  /** Least difference between the best and the worst reward, in the reward's unit. */
  minMargin: number;
  /** Least C_x, in [0, 1]. */
  minConsistency: number;
  /** Whether the second ranking must put the chosen completion above the rejected one, too. */
  requireAgreement: boolean;
}

type Origin = Pick<CompletionRecord, 'sampled_by'>;

/**
 * Positions of the best and the worst sample in the ranking's arrays. Completions of the first
 * policy cannot be chosen, and those of the future model cannot be rejected (Temporal
 * Self-Rewarding, arXiv 2508.06026). `completions` has one entry per sample.
 */
export function bestAndWorst(
  { reward_current: rewards }: Pick<RankingRecord, 'reward_current'>,
  completions: readonly Origin[],
): { best: number; worst: number } {
  const without = (origin: Origin['sampled_by'], instead: number) =>
    rewards.map((reward, i) => (completions[i]!.sampled_by === origin ? instead : reward));
  return {
    best: firstBest(without('initial', -Infinity)),
    worst: firstWorst(without('future', Infinity)),
  };
}

/**
 * The reason why `ranking` yields no pair, or undefined if it yields one. `completions` has
 * one entry per entry of `ranking.samples`.
 */
export function skipReason(
  ranking: RankingRecord,
  completions: readonly (Origin & Pick<CompletionRecord, 'completion'>)[],
  { minMargin, minConsistency, requireAgreement }: PairThresholds,
): SkipReason | undefined {
  if (ranking.samples.length < 2) return 'too_few_completions';
  const { best, worst } = bestAndWorst(ranking, completions);
  const texts = completions.map(({ completion }) => completion);
  const [high, low] = [ranking.reward_current[best]!, ranking.reward_current[worst]!];
  const margin = high - low;
  if (margin === 0) return 'all_equal';
  // The loss would raise and lower the same sequence at once.
  if (texts[best] === texts[worst]) return 'identical_pair';
  // A bare end-of-turn token: the loss would teach empty completions.
  if (texts[best]!.trim() === '') return 'empty_chosen';
  if (margin < minMargin - roundingOf(high, low)) return 'below_threshold';
  if (requireAgreement && ranking.reward_previous[best]! <= ranking.reward_previous[worst]!)
    return 'rankings_disagree';
  const least = minConsistency - roundingOf(minConsistency);
  return ranking.consistency < least ? 'below_consistency' : undefined;
}

/** Pair of a ranking that is not skipped; `scored` has one entry per `ranking.samples`. */
export function makePair(
  ranking: RankingRecord,
  scored: readonly ScoredCompletion[],
  weight: number,
): PairRecord {
  const { best, worst } = bestAndWorst(
    ranking,
    scored.map(({ completion }) => completion),
  );
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
    // θ_t before training is the reference of DPO.
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
