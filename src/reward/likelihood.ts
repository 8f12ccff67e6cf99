/**
 * How likely the policy finds its response, a token:
 *
 *   r(x, y) = log π_θ(y|x) / |y| the length-mean log-prob; a sum would rank by length above all
 */

/** Mean log-prob of a token, nats; `tokens` ≥ 1, end of sequence included. */
export function meanLogprob(logp: number, tokens: number): number {
  return logp / tokens;
}
