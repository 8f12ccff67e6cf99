// y = round(x / sqrt(mean(x²) + eps)) · weight: LlamaRMSNorm of transformers, which rounds to x's dtype before the weight.
#include "ops/rms_norm/op.h"

namespace cream::ops::reference {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const auto compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor wide = x.to(compute);                                             // [rows, hidden]
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);  // [rows, 1]
  return (wide * scale).to(x.scalar_type()) * weight.to(x.scalar_type());
}

}  // namespace cream::ops::reference
