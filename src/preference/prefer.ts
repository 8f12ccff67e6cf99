/**
 * The rank stage as a pure function: rewards → ranks → C → pairs → weights (CREAM, arXiv
 * 2410.12735). Rewards, scores and completions are joined by (prompt id, sample); the order of the
 * records affects only the order of the result.
 */
import { average } from '../data/average.js';
import { sampleKey } from '../data/group.js';
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
import { lossWeights, type Weighting } from './weight.js';

export interface PreferRequest {
  rewards: readonly RewardRecord[];
  scores: readonly ScoreRecord[];
  completions: readonly CompletionRecord[];
  /** Default kendall. */
  method?: ConsistencyMethod;
  /** Default avg. */
  weighting?: Weighting;
  /**
   * Prompts whose best and worst reward differ by less, in the reward's unit, are skipped; default
   * 0.
   */
  minMargin?: number;
  /** Prompts whose C_x is below this are skipped; default 0. */
  minConsistency?: number;
  /**
   * Prompts whose second ranking does not put the best completion above the worst are skipped;
   * default false.
   */
  requireAgreement?: boolean;
  /** Least weight of a pair with `avg`, `dyn` and `permuted`; default 0. */
  consistencyFloor?: number;
  /** Whether both rewards come from one reward source; the rankings record it. Default false. */
  oneJudge?: boolean;
  /**
   * Prompts without a usable judgement, whose completions have no rewards; they are skipped and
   * counted.
   */
  unjudged?: readonly string[];
}

export interface Preferences {
  /** One per prompt, skipped ones included, in order of first appearance in `rewards`. */
  rankings: RankingRecord[];
  /** One per prompt that is not skipped, in the order of `rankings`. */
  pairs: PairRecord[];
  summary: PreferenceSummary;
}

export interface PreferenceSummary {
  prompts: number;
  pairs: number;
  skipped: Partial<Record<SkipReason, number>>;
  /**
   * Prompts all of whose completions got equal rewards from one model or from both, so that C is a
   * convention (½ or 1) and not a measurement.
   */
  undefined_agreement: number;
  /** Completions of white space alone. They are ranked like any other. */
  empty_completions: number;
  /**
   * Completions with the text of an earlier one of the same prompt. They are ranked like any other.
   */
  duplicate_completions: number;
  /** Mean C over the pairs; 0 without any. */
  mean_consistency: number;
  /**
   * Mean margin r_t(chosen) − r_t(rejected) over the pairs, in the reward's unit (nats for log-
   * probs); 0 without any.
   */
  mean_margin: number;
}

/**
 * Ranks every prompt's completions and makes the pairs.
 * @throws RangeError naming the prompt where rewards, scores and completions do not have the same
 *   samples, once each, or where a reward is not finite.
 */
export function prefer(request: PreferRequest): Preferences {
  const {
    method = 'kendall',
    weighting = { method: 'avg' },
    minMargin = 0,
    minConsistency = 0,
    requireAgreement = false,
    consistencyFloor = 0,
    oneJudge = false,
    unjudged = [],
  } = request;
  const scored = joinScored(request, new Set(unjudged));

  const ranked = groupByPrompt(request.rewards).map((prompt) => {
    const ranking: RankingRecord = {
      ...rankPrompt(prompt, method),
      ...(oneJudge && { one_judge: true }),
    };
    const completions = prompt.samples.map(
      (sample) => scored.get(sampleKey({ ...prompt, sample }))!.completion,
    );
    const skipped = skipReason(ranking, completions, {
      minMargin,
      minConsistency,
      requireAgreement,
    });
    return skipped === undefined ? ranking : { ...ranking, skipped };
  });
  const rankings = [...ranked, ...unjudged.map(withoutRanking)];

  const kept = rankings.filter((ranking) => ranking.skipped === undefined);
  const weights = lossWeights(
    kept.map((ranking) => ranking.consistency),
    weighting,
    consistencyFloor,
  );
  const pairs = kept.map((ranking, i) =>
    makePair(
      ranking,
      ranking.samples.map((sample) => scored.get(sampleKey({ ...ranking, sample }))!),
      weights[i]!,
    ),
  );
  return { rankings, pairs, summary: summarise(rankings, pairs, request.completions) };
}

/** Ranks and agreement of one prompt's two reward lists. */
export function rankPrompt(prompt: PromptRewards, method: ConsistencyMethod): RankingRecord {
  return {
    ...prompt,
    rank_current: ordinalRanks(prompt.reward_current),
    rank_previous: ordinalRanks(prompt.reward_previous),
    ...agreement(prompt.reward_current, prompt.reward_previous, method),
  };
}

/** The record of a prompt without usable judgements, which has no ranking. */
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

const named = (record: { prompt_id: string; sample: number }): string =>
  `sample ${record.sample} of prompt ${JSON.stringify(record.prompt_id)}`;

/**
 * Joins completions and scores by sample. Rewards, scores and completions must have the same
 * samples, once each.
 */
function joinScored(
  { rewards, scores, completions }: PreferRequest,
  unjudged: ReadonlySet<string>,
): Map<string, ScoredCompletion> {
  const ofRanked = <T extends { prompt_id: string }>(records: readonly T[]) =>
    records.filter(({ prompt_id }) => !unjudged.has(prompt_id));
  const completionOf = index(ofRanked(completions), 'completions');
  const scoreOf = index(ofRanked(scores), 'scores');
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
    const id = sampleKey(record);
    if (found.has(id))
      throw new RangeError(
        `[prefer] ${named(record)} is listed twice in the ${name}; a prompt id and a sample ` +
          'number identify one completion',
      );
    found.set(id, record);
  }
  return found;
}
