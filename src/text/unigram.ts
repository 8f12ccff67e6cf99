/**
 * The most probable tokens of one long chunk under a Unigram model, in steps: the Viterbi search of
 * @huggingface/tokenizers, made interruptible. As there, of paths with the same score the one whose
 * last token begins first wins. O(n · longest token) for n characters.
 */

import type { UnigramModel } from './merging-models.js';

/** Characters between two interruptions. */
const STEP = 1000;

/** The tokens of `chunk`; yields the number of characters processed since the last yield. */
export function* segmentChunk(chunk: string, model: UnigramModel): Generator<number, string[]> {
  const characters = Array.from(chunk);
  const count = characters.length;
  /** Score of the best path to a position, and the position where its last token begins. */
  const best = new Float64Array(count + 1).fill(-Infinity);
  const begins = new Int32Array(count + 1).fill(-1);
  const reach = (begin: number, end: number, score: number): void => {
    if (begins[end]! >= 0 && !(score > best[end]!)) return;
    best[end] = score;
    begins[end] = begin;
  };
  best[0] = 0;
  for (let at = 0; at < count; at++) {
    let single = false;
    for (const token of model.trie.common_prefix_search(characters, at)) {
      const length = Array.from(token).length;
      single ||= length === 1;
      reach(at, at + length, best[at]! + model.scores[model.tokens_to_ids.get(token)!]!);
    }
    if (!single) reach(at, at + 1, best[at]! + model.unk_score);
    if (at % STEP === STEP - 1) yield STEP;
  }
  const tokens: string[] = [];
  for (let end = count; end > 0; end = begins[end]!)
    tokens.push(characters.slice(begins[end], end).join(''));
  return tokens.reverse();
}
