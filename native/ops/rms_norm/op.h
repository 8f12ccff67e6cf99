// y = x / sqrt(mean(x²) + eps) · weight with the mean in fp32 (Zhang & Sennrich 2019). In bf16 the
// rounding depends on the offset:
//   offset 0  round(round(x / …) · weight): Hugging Face's LlamaRMSNorm;
//   offset 1  round(x / … · (1 + weight)) with the sum in fp32: Gemma2RMSNorm. The stored weight is
//             the trained one.
#pragma once

#include "support/torch.h"

namespace cream::ops {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps,
                double offset = 0);  // x [rows, hidden] → same shape and dtype; differentiable

// Residual add and norm: sum = x + residual, normed = rms_norm(sum). x [rows, hidden] is consumed:
// its memory may be reused for the sum. Differentiable.
struct AddNorm {
  Tensor sum, normed;
};
AddNorm add_rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, double eps,
                     double offset = 0);

namespace reference {
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset = 0);
}

namespace device {  // bf16 and fp32, x [rows, hidden], weight contiguous and of its dtype
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset);
AddNorm add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                     double offset);
}  // namespace device

}  // namespace cream::ops
