/** Differences between the rankings of the current and the previous model. */
import type { RankingRecord } from '../data/records.js';

export interface Flips {
  /** Prompts with two rankings by different rewards. */
  prompts: number;
  /** Prompts on which the two models have different best, or different worst, completions. */
  best: number;
  worst: number;
  /** Prompts on which one model's best is the other's worst. */
  reversed: number;
  /** Couples of completions of one prompt, and those that the models order in opposite ways. */
  couples: number;
  swapped: number;
}

type Ranking = Pick<
  RankingRecord,
  'samples' | 'rank_current' | 'rank_previous' | 'skipped' | 'one_judge'
>;

/** Counts over the prompts that made a pair; null if there are none. Ties are not flips. */
export function flipsOf(rankings: readonly Ranking[]): Flips | null {
  const ranked = rankings.filter(
    ({ samples, rank_current, rank_previous, skipped, one_judge }) =>
      skipped === undefined &&
      !one_judge &&
      samples.length > 1 &&
      rank_current.length === samples.length &&
      rank_previous.length === samples.length,
  );
  if (ranked.length === 0) return null;
  const flips: Flips = {
    prompts: ranked.length,
    best: 0,
    worst: 0,
    reversed: 0,
    couples: 0,
    swapped: 0,
  };
  for (const { rank_current: current, rank_previous: previous } of ranked) {
    const [best, bestBefore] = [withRank(current, Math.min), withRank(previous, Math.min)];
    const [worst, worstBefore] = [withRank(current, Math.max), withRank(previous, Math.max)];
    if (!overlap(best, bestBefore)) flips.best++;
    if (!overlap(worst, worstBefore)) flips.worst++;
    if (overlap(best, worstBefore) || overlap(worst, bestBefore)) flips.reversed++;
    for (let i = 0; i < current.length; i++)
      for (let j = 0; j < i; j++) {
        flips.couples++;
        if ((current[i]! - current[j]!) * (previous[i]! - previous[j]!) < 0) flips.swapped++;
      }
  }
  return flips;
}

/** Indices of the completions with the extreme rank; several if they tie. */
function withRank(ranks: readonly number[], extreme: (...ranks: number[]) => number): number[] {
  const wanted = extreme(...ranks);
  return ranks.flatMap((rank, i) => (rank === wanted ? [i] : []));
}

const overlap = (a: readonly number[], b: readonly number[]): boolean =>
  a.some((index) => b.includes(index));
