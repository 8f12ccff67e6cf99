#include "ops/linear_logprob/op.h"

namespace cream::ops {

Tensor linear_logprob(const Tensor& hidden, const Linear& head, const Tensor& targets) {
  return reference::linear_logprob(hidden, head.weight, targets);
}

}  // namespace cream::ops
