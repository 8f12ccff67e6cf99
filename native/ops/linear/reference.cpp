// y = x · Wᵀ in plain ATen: the specification of the packed kernel, and the differentiable path.
#include "ops/linear/op.h"

namespace cream::ops::reference {

Tensor linear(const Tensor& x, const Tensor& weight) { return at::linear(x, weight); }

Tensor linear_f32(const Tensor& x, const Tensor& weight) {
  // Products of two bf16 values are exact in fp32, so this differs from the fast kernel in the order of the sum only.
  return at::linear(x.to(at::kFloat), weight.to(at::kFloat));
}

}  // namespace cream::ops::reference
