/**
 * The rank stage as a pure function: rewards → ranks → C → pairs → weights (CREAM, arXiv 2410.12735).
 * Rewards, scores and completions meet by (prompt id, sample); the order of their records changes nothing but the order of the result.
 */
import type { CompletionRecord, PairRecord, RankingRecord, RewardRecord, ScoreRecord } from '../data/records.js';
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
  /** Prompts whose reward gap (nats) is below this are skipped. */
  minMargin?: number;
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
  /** Prompts where a judge liked all responses equally, so that C is a convention (1 or ½) and not a measurement. */
  undefined_agreement: number;
  /** Mean C over the kept prompts; 0 without any. */
  mean_consistency: number;
  /** Mean r_t(chosen) − r_t(rejected) over the pairs, nats; 0 without any. */
  mean_margin: number;
}

/**
 * @throws RangeError where the three inputs do not describe the same samples once each, or a reward is not finite; names the prompt.
 */
export function prefer(request: PreferRequest): Preferences {
  const { method = 'kendall', weighting = { method: 'avg' }, minMargin = 0 } = request;
  const scored = joinScored(request);

  const rankings = groupByPrompt(request.rewards).map((prompt) => {
    const ranking = rankPrompt(prompt, method);
    const texts = prompt.samples.map((sample) => scored.get(key(prompt.prompt_id, sample))!.completion.completion);
    const skipped = skipReason(ranking, texts, minMargin);
    return skipped === undefined ? ranking : { ...ranking, skipped };
  });

  const kept = rankings.filter((ranking) => ranking.skipped === undefined);
  const weights = lossWeights(kept.map((ranking) => ranking.consistency), weighting);
  const pairs = kept.map((ranking, i) => makePair(ranking, ranking.samples.map((s) => scored.get(key(ranking.prompt_id, s))!), weights[i]!));
  return { rankings, pairs, summary: summarise(rankings, pairs) };
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

function summarise(rankings: readonly RankingRecord[], pairs: readonly PairRecord[]): PreferenceSummary {
  const skipped: PreferenceSummary['skipped'] = {};
  for (const { skipped: reason } of rankings) if (reason !== undefined) skipped[reason] = (skipped[reason] ?? 0) + 1;
  return {
    prompts: rankings.length,
    pairs: pairs.length,
    skipped,
    undefined_agreement: rankings.filter((r) => isUndefined(r.reward_current, r.reward_previous)).length,
    mean_consistency: average(pairs.map((pair) => pair.consistency)),
    mean_margin: average(pairs.map((pair) => pair.reward_chosen - pair.reward_rejected)),
  };
}

const key = (promptId: string, sample: number): string => `${sample} ${promptId}`;
const named = (record: { prompt_id: string; sample: number }): string => `sample ${record.sample} of prompt ${JSON.stringify(record.prompt_id)}`;

/** Completions and scores of every rewarded sample; each of the three must name the same samples, once each. */
function joinScored({ rewards, scores, completions }: PreferRequest): Map<string, ScoredCompletion> {
  const completionOf = index(completions, 'completions');
  const scoreOf = index(scores, 'scores');
  const rewardOf = index(rewards, 'rewards');
  for (const [of, name] of [[completionOf, 'completions'], [scoreOf, 'scores']] as const) {
    for (const [id, record] of rewardOf) if (!of.has(id)) throw new RangeError(`[prefer] ${named(record)} has a reward but is missing from the ${name}; run that stage again`);
    for (const [id, record] of of) if (!rewardOf.has(id)) throw new RangeError(`[prefer] ${named(record)} is in the ${name} but has no reward; score it first`);
  }
  return new Map([...rewardOf.keys()].map((id) => [id, { completion: completionOf.get(id)!, score: scoreOf.get(id)! }]));
}

function index<T extends { prompt_id: string; sample: number }>(records: readonly T[], name: string): Map<string, T> {
  const found = new Map<string, T>();
  for (const record of records) {
    const id = key(record.prompt_id, record.sample);
    if (found.has(id)) throw new RangeError(`[prefer] ${named(record)} is twice in the ${name}; a prompt id and a sample number name one completion`);
    found.set(id, record);
  }
  return found;
}
