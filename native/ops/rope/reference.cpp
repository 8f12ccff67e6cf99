// y = x·cos + rotate_half(x)·sin, rotate_half(x) = [−x₂, x₁] of the two halves of head_dim; fp32
// inside, rounded once.
#include "ops/rope/op.h"

namespace cream::ops::reference {

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t rotary_dim = cos.size(-1);
  if (rotary_dim < x.size(-1))
    return at::cat({rope(x.narrow(-1, 0, rotary_dim), cos, sin),
                    x.narrow(-1, rotary_dim, x.size(-1) - rotary_dim)},
                   -1);
  const auto compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t half = x.size(-1) / 2;
  const Tensor wide = x.to(compute);  // [rows, heads, head_dim]
  const Tensor rotated = at::cat({wide.narrow(-1, half, half).neg(), wide.narrow(-1, 0, half)}, -1);
  const Tensor c = cos.to(compute).unsqueeze(1),
               s = sin.to(compute).unsqueeze(1);  // [rows, 1, head_dim]
  return (wide * c + rotated * s).to(x.scalar_type());
}

}  // namespace cream::ops::reference
