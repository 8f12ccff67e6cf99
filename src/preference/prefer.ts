/**
 * The rank stage as a pure function: rewards → ranks → C → pairs → weights (CREAM, arXiv
 * 2410.12735). Rewards, scores and completions meet by (prompt id, sample); the order of their
 * records changes nothing but the order of the result.
 */
import type {
  CompletionRecord,
  PairRecord,
  RankingRecord,
  RewardRecord,
  ScoreRecord,
} from '../data/records.js';
import { agreement, isUndefined, type ConsistencyMethod } from './consistency.js';
import { makePair, skipReason, type ScoredCompletion, type SkipReason } from './pair.js';
import { groupByPrompt, ordinalRanks, type PromptRewards } from './rank.js';
import { average, lossWeights, type Weighting } from './weight.js';

export interface PreferRequest {
  rewards: readonly RewardRecord[];
  scores: readonly ScoreRecord[];
  completions: readonly CompletionRecord[];
  method?: ConsistencyMethod;
  weighting?: Weighting;
  /** Prompts whose reward gap (in the reward's own unit) is below this are skipped. */
  minMargin?: number;
  /** Prompts whose C_x is below this are skipped. */
  minConsistency?: number;
  /** The rewards are one judge's, given for both models: the rankings say so. */
  oneJudge?: boolean;
  /**
   * Prompts of which the judge said nothing usable: skipped and counted; none of their completions
   * has a reward.
   */
  unjudged?: readonly string[];
}

export interface Preferences {
  /** One a prompt, in order of first appearance in `rewards`, skipped ones included. */
  rankings: RankingRecord[];
  /** One a kept prompt, in the order of `rankings`. */
  pairs: PairRecord[];
  summary: PreferenceSummary;
}

export interface PreferenceSummary {
  prompts: number;
  pairs: number;
  skipped: Partial<Record<SkipReason, number>>;
  /**
   * Prompts where a judge liked all responses equally, so that C is a convention (1 or ½) and not a
   * measurement.
   */
  undefined_agreement: number;
  /** Completions without a visible character. They are ranked like any other. */
  empty_completions: number;
  /**
   * Completions that say what an earlier one of their prompt says. They are ranked like any other.
   */
  duplicate_completions: number;
  /** Mean C over the kept prompts; 0 without any. */
  mean_consistency: number;
  /**
   * Mean r_t(chosen) − r_t(rejected) over the pairs, in the reward's unit (nats for log-probs); 0
   * without any.
   */
  mean_margin: number;
}

/**
 * @throws RangeError where the three inputs do not describe the same samples once each, or a reward
 *   is not finite; names the prompt.
 */
export function prefer(request: PreferRequest): Preferences {
  const {
    method = 'kendall',
    weighting = { method: 'avg' },
    minMargin = 0,
    minConsistency = 0,
    oneJudge = false,
    unjudged = [],
  } = request;
  const scored = joinScored(request, new Set(unjudged));

  const ranked = groupByPrompt(request.rewards).map((prompt) => {
    const ranking: RankingRecord = {
      ...rankPrompt(prompt, method),
      ...(oneJudge && { one_judge: true }),
    };
    const texts = prompt.samples.map(
      (sample) => scored.get(key(prompt.prompt_id, sample))!.completion.completion,
    );
    const skipped = skipReason(ranking, texts, { minMargin, minConsistency });
    return skipped === undefined ? ranking : { ...ranking, skipped };
  });
  const rankings = [...ranked, ...unjudged.map(withoutRanking)];

  const kept = rankings.filter((ranking) => ranking.skipped === undefined);
  const weights = lossWeights(
    kept.map((ranking) => ranking.consistency),
    weighting,
  );
  const pairs = kept.map((ranking, i) =>
    makePair(
      ranking,
      ranking.samples.map((s) => scored.get(key(ranking.prompt_id, s))!),
      weights[i]!,
    ),
  );
  return { rankings, pairs, summary: summarise(rankings, pairs, request.completions) };
}

/** Ranks and agreement of one prompt. */
export function rankPrompt(prompt: PromptRewards, method: ConsistencyMethod): RankingRecord {
  return {
    ...prompt,
    rank_current: ordinalRanks(prompt.reward_current),
    rank_previous: ordinalRanks(prompt.reward_previous),
    ...agreement(prompt.reward_current, prompt.reward_previous, method),
  };
}

/** The record of a prompt that could not be judged: it has no order, and says so. */
function withoutRanking(prompt_id: string): RankingRecord {
  return {
    ...rankPrompt({ prompt_id, samples: [], reward_current: [], reward_previous: [] }, 'kendall'),
    skipped: 'no_judgement',
  };
}

function summarise(
  rankings: readonly RankingRecord[],
  pairs: readonly PairRecord[],
  completions: readonly CompletionRecord[],
): PreferenceSummary {
  const skipped: PreferenceSummary['skipped'] = {};
  for (const { skipped: reason } of rankings)
    if (reason !== undefined) skipped[reason] = (skipped[reason] ?? 0) + 1;
  return {
    prompts: rankings.length,
    pairs: pairs.length,
    skipped,
    undefined_agreement: rankings.filter(
      (r) => r.skipped !== 'no_judgement' && isUndefined(r.reward_current, r.reward_previous),
    ).length,
    ...oddCompletions(completions),
    mean_consistency: average(pairs.map((pair) => pair.consistency)),
    mean_margin: average(pairs.map((pair) => pair.reward_chosen - pair.reward_rejected)),
  };
}

/** How many completions are empty, and how many repeat an earlier one of their prompt. */
export function oddCompletions(
  completions: readonly Pick<CompletionRecord, 'prompt_id' | 'completion'>[],
): { empty_completions: number; duplicate_completions: number } {
  const said = new Set(
    completions.map(({ prompt_id, completion }) => JSON.stringify([prompt_id, completion])),
  );
  return {
    empty_completions: completions.filter(({ completion }) => completion.trim() === '').length,
    duplicate_completions: completions.length - said.size,
  };
}

const key = (promptId: string, sample: number): string => `${sample} ${promptId}`;
const named = (record: { prompt_id: string; sample: number }): string =>
  `sample ${record.sample} of prompt ${JSON.stringify(record.prompt_id)}`;

/**
 * Completions and scores of every rewarded sample; each of the three must name the same samples,
 * once each.
 */
function joinScored(
  { rewards, scores, completions }: PreferRequest,
  unjudged: ReadonlySet<string>,
): Map<string, ScoredCompletion> {
  const judged = <T extends { prompt_id: string }>(records: readonly T[]) =>
    records.filter(({ prompt_id }) => !unjudged.has(prompt_id));
  const completionOf = index(judged(completions), 'completions');
  const scoreOf = index(judged(scores), 'scores');
  const rewardOf = index(rewards, 'rewards');
  for (const [of, name] of [
    [completionOf, 'completions'],
    [scoreOf, 'scores'],
  ] as const) {
    for (const [id, record] of rewardOf)
      if (!of.has(id))
        throw new RangeError(
          `[prefer] ${named(record)} has a reward but is missing from the ${name}; run ` +
            'that stage again',
        );
    for (const [id, record] of of)
      if (!rewardOf.has(id))
        throw new RangeError(
          `[prefer] ${named(record)} is in the ${name} but has no reward; score it first`,
        );
  }
  return new Map(
    [...rewardOf.keys()].map((id) => [
      id,
      { completion: completionOf.get(id)!, score: scoreOf.get(id)! },
    ]),
  );
}

function index<T extends { prompt_id: string; sample: number }>(
  records: readonly T[],
  name: string,
): Map<string, T> {
  const found = new Map<string, T>();
  for (const record of records) {
    const id = key(record.prompt_id, record.sample);
    if (found.has(id))
      throw new RangeError(
        `[prefer] ${named(record)} is twice in the ${name}; a prompt id and a sample ` +
          'number name one completion',
      );
    found.set(id, record);
  }
  return found;
}
