/**
 * The DPO-implied reward of the policy's own completions (CREAM, arXiv 2410.12735):
 *
 *   r_t(x, y) = log π_θt(y|x) − log π_θ0(y|x)
 *
 * It omits the factor β and the term that is the same for all y of a prompt; neither changes a
 * ranking. Log-probs are sums over the completion's tokens in nats, end of sequence included. For
 * θ_0 itself the difference is 0 for every y, so the official code ranks by likelihood.ts instead.
 */

/** Difference of two summed log-probs, in nats. */
export function implicitReward(logp: number, logpBase: number): number {
  return logp - logpBase;
}
