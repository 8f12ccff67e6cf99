/** Scoring: log π(completion | prompt), each prompt computed once for all of its completions. */
import type { NativeScoringRequest } from './addon.js';
import { knownKeys, list, orAuto, positiveInteger, tokenIds, type TokenIds } from './arguments.js';

export interface ScoringGroup {
  prompt: TokenIds;
  completions: readonly TokenIds[];
}

export interface ScoreRequest {
  groups: readonly ScoringGroup[];
  /**
   * Rows of one forward pass, on a GPU fewer where its memory is short; default `auto`: what the
   * memory allows, 16384 at most, 4096 on the CPU. Changes speed and memory only, on a GPU within
   * rounding.
   */
  maxNumBatchedTokens?: number | 'auto';
}

/**
 * In the order of the request: groups, then their completions. Log-probs are natural logarithms at
 * temperature 1.
 */
export interface ScoreResult {
  /** One a completion. */
  sums: Float64Array;
  /** Of all completions' tokens, one behind the other. */
  tokenLogprobs: Float32Array;
  /** Completion i has tokenLogprobs offsets[i] … offsets[i + 1]. */
  offsets: Float64Array;
  /** Rows computed: shared prompts make it less than the tokens given. */
  forwardTokens: number;
  seconds: number;
}

/**
 * log π of a completion, nats: its tokens' log-probs added in double and in order, so that what was
 * sampled has the bits of `ScoreResult.sums`.
 */
export function sumLogprobs(tokenLogprobs: Float32Array): number {
  return tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
}

/** Checks the request and fills in the default. Throws CreamError. */
export function checkScoreRequest(request: ScoreRequest, vocabSize: number): NativeScoringRequest {
  knownKeys(request, ['groups', 'maxNumBatchedTokens'], '[score] the request');
  const groups = list(request.groups, '[score] groups').map((group, g) => {
    knownKeys(group, ['prompt', 'completions'], `[score] group ${g}`);
    return {
      prompt: tokenIds(group.prompt, vocabSize, `[score] the prompt of group ${g}`),
      completions: list(group.completions, `[score] the completions of group ${g}`).map(
        (tokens, c) => tokenIds(tokens, vocabSize, `[score] completion ${c} of group ${g}`),
      ),
    };
  });
  return {
    groups,
    maxNumBatchedTokens: orAuto(request.maxNumBatchedTokens, (rows) =>
      positiveInteger(rows, '[score] maxNumBatchedTokens'),
    ),
  };
}

/** The same for Model.classify(). */
export function checkClassifyRequest(
  request: { sequences: readonly TokenIds[]; maxNumBatchedTokens?: number | 'auto' },
  vocabSize: number,
): { sequences: Int32Array[]; maxNumBatchedTokens: number } {
  knownKeys(request, ['sequences', 'maxNumBatchedTokens'], '[classify] the request');
  const sequences = list(request.sequences, '[classify] sequences').map((tokens, i) =>
    tokenIds(tokens, vocabSize, `[classify] sequence ${i}`),
  );
  return {
    sequences,
    maxNumBatchedTokens: orAuto(request.maxNumBatchedTokens, (rows) =>
      positiveInteger(rows, '[classify] maxNumBatchedTokens'),
    ),
  };
}
