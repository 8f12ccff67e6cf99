/** Scoring: log π(completion | prompt). A prompt is computed once for all of its completions. */
import type { NativeClassificationRequest, NativeScoringRequest } from './addon.js';
import { checkFields, type FieldsOf } from './fields.js';
import { CLASSIFICATION_FIELDS, SCORING_FIELDS } from './requests.js';

export type { ScoringGroup } from './requests.js';

/** Prompts with the completions to score. */
export type ScoreRequest = FieldsOf<typeof SCORING_FIELDS>;

/** Sequences for a sequence-classification model. */
export type ClassifyRequest = FieldsOf<typeof CLASSIFICATION_FIELDS>;

/**
 * Log-probs in nats at temperature 1. Completions are in the order of the request: by group, then
 * within the group; N is their number.
 */
export interface ScoreResult {
  /** Summed log-prob per completion, [N], float64. */
  sums: Float64Array;
  /** Log-prob per token, float32, all completions concatenated. */
  tokenLogprobs: Float32Array;
  /**
   * N + 1 entries: completion i has `tokenLogprobs` from `offsets[i]` up to, but without,
   * `offsets[i + 1]`.
   */
  offsets: Float64Array;
  /** Tokens computed. Shared prompts make it less than the sum of all sequence lengths. */
  forwardTokens: number;
  /** Seconds of the computation. */
  seconds: number;
}

/**
 * Summed log-prob of a completion, in nats. Adds in float64 and in order, as score() does, so that
 * equal token log-probs give the same bits as `ScoreResult.sums`.
 */
export function sumLogprobs(tokenLogprobs: Float32Array): number {
  return tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
}

/** Checks the request and fills in the default. Throws CreamError. */
export function checkScoreRequest(request: ScoreRequest, vocabSize: number): NativeScoringRequest {
  return checkFields(SCORING_FIELDS, request, {
    what: '[score] the request',
    place: (name) => `[score] ${name}`,
    context: { vocabSize },
  });
}

/** Checks the request of Model.classify() and fills in the default. Throws CreamError. */
export function checkClassifyRequest(
  request: ClassifyRequest,
  vocabSize: number,
): NativeClassificationRequest {
  return checkFields(CLASSIFICATION_FIELDS, request, {
    what: '[classify] the request',
    place: (name) => `[classify] ${name}`,
    context: { vocabSize },
  });
}
