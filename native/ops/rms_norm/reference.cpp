// y = round(x / sqrt(mean(x²) + eps)) · weight: LlamaRMSNorm of transformers, which rounds to x's
// dtype before the weight; with an offset, round(x / sqrt(mean(x²) + eps) · (offset + weight)):
// Gemma2RMSNorm, which rounds after it.
#include "ops/rms_norm/op.h"

namespace cream::ops::reference {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  const auto compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor wide = x.to(compute);                                               // [rows, hidden]
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);  // [rows, 1]
  if (offset != 0) return (wide * scale * (offset + weight.to(compute))).to(x.scalar_type());
  return (wide * scale).to(x.scalar_type()) * weight.to(x.scalar_type());
}

}  // namespace cream::ops::reference
