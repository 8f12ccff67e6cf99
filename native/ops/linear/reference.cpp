// y = x · Wᵀ in plain ATen: the specification of the packed kernel, and the differentiable path.
#include "ops/linear/op.h"

namespace cream::ops::reference {

Tensor linear(const Tensor& x, const Tensor& weight) { return at::linear(x, weight); }

Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight) { return at::mm(dy, weight); }

void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x) {
  if (dy.scalar_type() == sum.scalar_type())
    sum.addmm_(dy.t(), x);  // one rounding, of the sum
  else
    sum.add_(at::mm(dy.t(), x));
}

Tensor linear_f32(const Tensor& x, const Tensor& weight) {
  // Products of two bf16 values are exact in fp32, so only the order of summation differs from the
  // fast kernel.
  const Tensor wide = x.to(at::kFloat);
  constexpr int64_t chunk = 4096;
  const bool gradient = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  if (gradient || weight.scalar_type() == at::kFloat || weight.size(0) <= chunk)
    return at::linear(wide, weight.to(at::kFloat));
  // An fp32 copy of the head would double the memory traffic of a decoded token: widen a part that
  // fits the CPU cache and use it there.
  Tensor y = at::empty({x.size(0), weight.size(0)}, wide.options());
  for (int64_t start = 0; start < weight.size(0); start += chunk) {
    const int64_t n = std::min(chunk, weight.size(0) - start);
    y.narrow(1, start, n).copy_(at::linear(wide, weight.narrow(0, start, n).to(at::kFloat)));
  }
  return y;
}

}  // namespace cream::ops::reference
