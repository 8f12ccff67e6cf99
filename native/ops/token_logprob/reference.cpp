// The two formulas of op.h in plain ATen.
#include "ops/token_logprob/op.h"

namespace cream::ops::reference {

TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap) {
  const Tensor z = cap > 0 ? at::div(logits, cap).tanh_().mul_(cap) : logits;
  const Tensor logsumexp = at::logsumexp(z, 1);
  return {z.gather(1, targets.unsqueeze(1)).squeeze(1) - logsumexp, logsumexp};
}

Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap) {
  Tensor slope;
  if (cap > 0) slope = 1 - logits.div_(cap).tanh_().square(), logits.mul_(cap);
  Tensor gradient = logits.sub_(logsumexp.unsqueeze(1)).exp_().mul_(coefficient.neg().unsqueeze(1));
  gradient.scatter_add_(1, targets.unsqueeze(1), coefficient.unsqueeze(1));
  if (slope.defined()) gradient.mul_(slope);
  return gradient.to(dtype);
}

}  // namespace cream::ops::reference
