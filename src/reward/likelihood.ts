/**
 * The policy's likelihood of its own completion, per token:
 *
 *   r(x, y) = log π_θ(y|x) / |y|
 *
 * The mean over the length is used because a sum would mostly rank by length.
 */

/** Mean log-prob per token, in nats. `tokens` is at least 1 and includes the end of sequence. */
export function meanLogprob(logp: number, tokens: number): number {
  return logp / tokens;
}
