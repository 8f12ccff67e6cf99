/**
 * How well a reward ranks given preference pairs: the share of pairs whose chosen completion gets
 * the higher reward. A tie counts half, and 50 % is chance.
 *
 *   accuracy   over all pairs, with its Wilson interval
 *   matched    over the pairs of about equal length: |a − b| ≤ tolerance · max(a, b) for the two
 *              lengths in tokens. A reward that only measures length is near 50 % here
 *   balanced   the mean of the accuracy where the chosen completion is the longer one and where it
 *              is the shorter one. A reward that only measures length has exactly 50 %. Its
 *              interval combines the two Wilson intervals (MOVER; Zou & Donner 2008)
 */
import { wilson } from './intervals.js';

/** A completion of a pair: its length in tokens and its reward. */
export interface Candidate {
  tokens: number;
  reward: number;
}

export interface RatedPair {
  chosen: Candidate;
  rejected: Candidate;
}

export interface Share {
  /** Number of pairs. */
  pairs: number;
  /** 0 … 1; null without pairs. */
  accuracy: number | null;
  /** 95 % interval; [0, 1] without pairs. */
  low: number;
  high: number;
}

export interface RankingAccuracy {
  all: Share;
  matched: Share;
  balanced: Share;
}

/** The three measures of `pairs`; `tolerance`, 0 … 1, is that of `matched`. */
export function rankingAccuracy(pairs: readonly RatedPair[], tolerance: number): RankingAccuracy {
  const difference = ({ chosen, rejected }: RatedPair) => chosen.tokens - rejected.tokens;
  const longer = shareOf(pairs.filter((pair) => difference(pair) > 0));
  const shorter = shareOf(pairs.filter((pair) => difference(pair) < 0));
  return {
    all: shareOf(pairs),
    matched: shareOf(
      pairs.filter(
        (pair) =>
          Math.abs(difference(pair)) <=
          tolerance * Math.max(pair.chosen.tokens, pair.rejected.tokens),
      ),
    ),
    balanced: meanOf(longer, shorter),
  };
}

/** Pairs of two lengths in tokens with the length as reward, so that the longer one wins. */
export function byLength(lengths: readonly (readonly [number, number])[]): RatedPair[] {
  const rated = (tokens: number): Candidate => ({ tokens, reward: tokens });
  return lengths.map(([chosen, rejected]) => ({
    chosen: rated(chosen),
    rejected: rated(rejected),
  }));
}

function shareOf(pairs: readonly RatedPair[]): Share {
  const wins = pairs.reduce(
    (sum, { chosen, rejected }) => sum + (1 + Math.sign(chosen.reward - rejected.reward)) / 2,
    0,
  );
  return {
    pairs: pairs.length,
    accuracy: pairs.length === 0 ? null : wins / pairs.length,
    ...wilson(wins, pairs.length),
  };
}

function meanOf(a: Share, b: Share): Share {
  const pairs = a.pairs + b.pairs;
  if (a.accuracy === null || b.accuracy === null) return { pairs, accuracy: null, low: 0, high: 1 };
  const accuracy = (a.accuracy + b.accuracy) / 2;
  return {
    pairs,
    accuracy,
    low: accuracy - Math.hypot(a.accuracy - a.low, b.accuracy - b.low) / 2,
    high: accuracy + Math.hypot(a.high - a.accuracy, b.high - b.accuracy) / 2,
  };
}
