/**
 * The metrics of one iteration, computed from its artefacts alone; the run's summary, its metrics
 * and the report use only these.
 *
 *   consistency         mean C over the prompts that made a pair, with the quartiles of Kendall's τ
 *   ranking_accuracy    over couples of a right and a wrong completion of one prompt: how often the
 *                       reward ranks the right one higher, a tie counting half. This is the AUC of
 *                       the reward within prompts. It needs known answers: gold.jsonl, which
 *                       training never reads
 *   kl_response         mean of log π_θt(y|x) − log π_θ0(y|x) over the sampled completions, nats:
 *                       the Monte-Carlo estimate of KL(θ_t ‖ θ_0) under the sampling distribution,
 *                       which temperature or top-p below 1 bias towards likely completions
 *   kl_token            the same divided by the mean length: nats per token
 *   sampler_difference, sampler_tau
 *                       θ_t's log-probs by the sampler against those by the scorer, over the
 *                       prompts that have both: the largest difference of a completion, nats, and
 *                       the lowest Kendall's τ of a prompt. Expected: 0 (rounding in fp32) and 1
 *   noise_rms, noise_consistency
 *                       how far rounding in bfloat16 moves θ_t's rewards within a prompt (root mean
 *                       square, in the reward's unit), and the C that it leaves between the
 *                       bfloat16 and the float32 ranking of θ_t
 *   truncated           share of completions that ended by the length limit
 *   distinct_2          distinct bigrams / all bigrams of a completion, mean over completions; 1 if
 *                       none repeats
 *   repeated_4          share of a completion's 4-grams that occurred in it before, mean over
 *                       completions; it shows loops first
 *
 * A metric that cannot be measured is null, never 0.
 */
import { average } from '../data/average.js';
import { sampleKey } from '../data/group.js';
import type {
  CompletionRecord,
  Message,
  NoiseRecord,
  PairRecord,
  RankingRecord,
  SamplerCheckRecord,
  ScoreRecord,
} from '../data/records.js';
import { isCorrect, type Known } from './answer.js';
import { quantile } from './intervals.js';

export interface IterationMetrics {
  prompts: number;
  pairs: number;
  /** Prompts without a pair, by reason. */
  skipped: Record<string, number>;
  consistency: number | null;
  kendall_tau: number | null;
  /** 25, 50 and 75 % of the kept prompts' τ lie below. */
  kendall_quartiles: [number, number, number] | null;
  spearman: number | null;
  top_order: number | null;
  /** Self-reward of chosen over rejected, nats per pair, before training. */
  pair_margin: number | null;
  ranking_accuracy: number | null;
  /** Couples of the ranking accuracy, and those whose two rewards are equal. */
  ranking_couples: number;
  ranking_ties: number;
  /**
   * Share of right answers among all sampled, the chosen and the rejected completions, as far as
   * answers are known.
   */
  sample_accuracy: number | null;
  chosen_accuracy: number | null;
  rejected_accuracy: number | null;
  kl_response: number | null;
  kl_token: number | null;
  sampler_difference: number | null;
  sampler_tau: number | null;
  noise_rms: number | null;
  noise_consistency: number | null;
  /** Mean tokens of a sampled completion. */
  mean_length: number | null;
  truncated: number | null;
  distinct_2: number | null;
  repeated_4: number | null;
  /**
   * β·(log π − log π_ref) of chosen over rejected: first step, and mean of the last quarter of the
   * steps.
   */
  reward_margin_first: number | null;
  reward_margin: number | null;
  reward_accuracy: number | null;
}

/** A completion, measured while it is read: the completions of a long run do not fit in memory. */
export interface MeasuredCompletion {
  prompt_id: string;
  sample: number;
  tokens: number;
  truncated: boolean;
  distinct_2: number | null;
  repeated_4: number | null;
  /** null if no answer is known. */
  correct: boolean | null;
}

/** A pair, measured while it is read. Its completions may be those of other models (temporal). */
export interface MeasuredPair extends Pick<
  PairRecord,
  'prompt_id' | 'chosen_sample' | 'rejected_sample' | 'reward_chosen' | 'reward_rejected'
> {
  /** null if no answer is known. */
  chosen_correct: boolean | null;
  rejected_correct: boolean | null;
}

export interface IterationRecords {
  rankings: readonly RankingRecord[];
  pairs: readonly MeasuredPair[];
  completions: readonly MeasuredCompletion[];
  scores: readonly Pick<ScoreRecord, 'tokens' | 'logp_current' | 'logp_base'>[];
  samplerChecks: readonly Pick<
    SamplerCheckRecord,
    'logp_sampled' | 'logp_scored' | 'kendall_tau'
  >[];
  noise: readonly Pick<NoiseRecord, 'reward' | 'reward_float32' | 'consistency'>[];
  steps: readonly {
    'rewards/margins'?: number | undefined;
    'rewards/accuracies'?: number | undefined;
  }[];
}

/** All metrics of an iteration from the records of its artefacts. */
export function measureIteration({
  rankings,
  pairs,
  completions,
  scores,
  samplerChecks,
  noise,
  steps,
}: IterationRecords): IterationMetrics {
  const kept = rankings.filter((ranking) => ranking.skipped === undefined);
  const measured = kept.filter((ranking) => !ranking.one_judge);
  const last = steps.slice(-Math.max(1, Math.round(steps.length / 4)));
  const correct = new Map(completions.map((c) => [sampleKey(c), c.correct]));
  const right = (of: readonly (boolean | null)[]) =>
    mean(of.flatMap((value) => (value === null ? [] : Number(value))));
  return {
    prompts: rankings.length,
    pairs: pairs.length,
    skipped: countBy(rankings.flatMap(({ skipped }) => skipped ?? [])),
    consistency: mean(measured.map((r) => r.consistency)),
    kendall_tau: mean(measured.map((r) => r.kendall_tau)),
    kendall_quartiles: quartiles(measured.map((r) => r.kendall_tau)),
    spearman: mean(measured.map((r) => r.spearman)),
    top_order: mean(measured.map((r) => r.top_order)),
    pair_margin: mean(pairs.map((p) => p.reward_chosen - p.reward_rejected)),
    ...rankingAccuracy(rankings, correct),
    sample_accuracy: right([...correct.values()]),
    chosen_accuracy: right(pairs.map((p) => p.chosen_correct)),
    rejected_accuracy: right(pairs.map((p) => p.rejected_correct)),
    ...divergence(scores),
    ...measureSampler(samplerChecks),
    ...measureNoise(noise),
    mean_length: mean(completions.map((c) => c.tokens)),
    truncated: mean(completions.map((c) => Number(c.truncated))),
    distinct_2: mean(completions.flatMap((c) => c.distinct_2 ?? [])),
    repeated_4: mean(completions.flatMap((c) => c.repeated_4 ?? [])),
    reward_margin_first: steps[0]?.['rewards/margins'] ?? null,
    reward_margin: mean(last.flatMap((step) => step['rewards/margins'] ?? [])),
    reward_accuracy: mean(last.flatMap((step) => step['rewards/accuracies'] ?? [])),
  };
}

/** The metrics of one completion; `correct` is null unless the answer to its prompt is known. */
export function measureCompletion(
  completion: Pick<
    CompletionRecord,
    'prompt_id' | 'sample' | 'completion' | 'token_ids' | 'finish_reason'
  >,
  question: Known | undefined,
): MeasuredCompletion {
  const { prompt_id, sample, token_ids, finish_reason } = completion;
  const fresh = freshShare(token_ids, 4);
  return {
    prompt_id,
    sample,
    tokens: token_ids.length,
    truncated: finish_reason === 'length',
    distinct_2: freshShare(token_ids, 2),
    repeated_4: fresh === null ? null : 1 - fresh,
    correct: isKnownCorrect(question, completion.completion),
  };
}

/** The metrics of one pair; whether its completions are right is null without a known answer. */
export function measurePair(
  {
    prompt_id,
    chosen_sample,
    rejected_sample,
    reward_chosen,
    reward_rejected,
    chosen,
    rejected,
  }: PairRecord,
  question: Known | undefined,
): MeasuredPair {
  const correct = (messages: readonly Message[]) =>
    isKnownCorrect(question, messages.at(-1)?.content ?? '');
  return {
    prompt_id,
    chosen_sample,
    rejected_sample,
    reward_chosen,
    reward_rejected,
    chosen_correct: correct(chosen),
    rejected_correct: correct(rejected),
  };
}

const isKnownCorrect = (question: Known | undefined, text: string): boolean | null =>
  question?.answer === undefined ? null : isCorrect(question, text);

/** Distinct n-grams / all n-grams of one completion; null if it is shorter than n. */
export function freshShare(tokens: readonly number[], n: number): number | null {
  const total = tokens.length - n + 1;
  return total < 1
    ? null
    : new Set(Array.from({ length: total }, (_, i) => tokens.slice(i, i + n).join(' '))).size /
        total;
}

function rankingAccuracy(
  rankings: readonly RankingRecord[],
  correct: ReadonlyMap<string, boolean | null>,
): Pick<IterationMetrics, 'ranking_accuracy' | 'ranking_couples' | 'ranking_ties'> {
  let couples = 0;
  let ties = 0;
  let wins = 0;
  for (const { prompt_id, samples, reward_current } of rankings) {
    const rewards = (wanted: boolean) =>
      reward_current.filter(
        (_, i) => correct.get(sampleKey({ prompt_id, sample: samples[i]! })) === wanted,
      );
    const wrong = rewards(false);
    for (const better of rewards(true)) {
      for (const worse of wrong) {
        couples++;
        if (better > worse) wins++;
        else if (better === worse) ties++;
      }
    }
  }
  return {
    ranking_accuracy: couples === 0 ? null : (wins + ties / 2) / couples,
    ranking_couples: couples,
    ranking_ties: ties,
  };
}

function divergence(
  scores: IterationRecords['scores'],
): Pick<IterationMetrics, 'kl_response' | 'kl_token'> {
  const difference = scores.reduce((sum, s) => sum + s.logp_current - s.logp_base, 0);
  const tokens = scores.reduce((sum, s) => sum + s.tokens, 0);
  return {
    kl_response: scores.length === 0 ? null : difference / scores.length,
    kl_token: tokens === 0 ? null : difference / tokens,
  };
}

/** How far the sampler's log-probs (nats) differ from the scorer's; null without checks. */
export function measureSampler(
  checks: IterationRecords['samplerChecks'],
): Pick<IterationMetrics, 'sampler_difference' | 'sampler_tau'> {
  const differences = checks.flatMap(({ logp_sampled, logp_scored }) =>
    logp_sampled.map((logp, i) => Math.abs(logp - logp_scored[i]!)),
  );
  if (differences.length === 0) return { sampler_difference: null, sampler_tau: null };
  return {
    sampler_difference: Math.max(...differences),
    sampler_tau: Math.min(...checks.map(({ kendall_tau }) => kendall_tau)),
  };
}

/**
 * Only differences within a prompt can change its ranking, so each prompt's mean difference is
 * subtracted.
 */
export function measureNoise(
  noise: IterationRecords['noise'],
): Pick<IterationMetrics, 'noise_rms' | 'noise_consistency'> {
  const squares = noise.flatMap(({ reward, reward_float32 }) => {
    const differences = reward.map((value, i) => value - reward_float32[i]!);
    const middle = mean(differences)!;
    return differences.map((difference) => (difference - middle) ** 2);
  });
  const square = mean(squares);
  return {
    noise_rms: square === null ? null : Math.sqrt(square),
    noise_consistency: mean(noise.map(({ consistency }) => consistency)),
  };
}

function quartiles(values: readonly number[]): [number, number, number] | null {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  return [quantile(sorted, 0.25), quantile(sorted, 0.5), quantile(sorted, 0.75)];
}

/** The count of each name; keys are in alphabetical order. */
export function countBy(names: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** null for an empty list. */
export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : average(values);
}
