// The two formulas of op.h in plain ATen.
#include "ops/token_logprob/op.h"

namespace cream::ops::reference {

TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets) {
  const Tensor logsumexp = at::logsumexp(logits, 1);
  return {logits.gather(1, targets.unsqueeze(1)).squeeze(1) - logsumexp, logsumexp};
}

Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets, const Tensor& coefficient,
                              at::ScalarType dtype) {
  Tensor gradient = logits.sub_(logsumexp.unsqueeze(1)).exp_().mul_(coefficient.neg().unsqueeze(1));
  gradient.scatter_add_(1, targets.unsqueeze(1), coefficient.unsqueeze(1));
  return gradient.to(dtype);
}

}  // namespace cream::ops::reference
