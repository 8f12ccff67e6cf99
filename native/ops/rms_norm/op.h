// y = x / sqrt(mean(x²) + eps) · weight, the mean in fp32 (Zhang & Sennrich 2019; Hugging Face LlamaRMSNorm).
#pragma once

#include "support/torch.h"

namespace cream::ops {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);  // x [rows, hidden] → same shape and dtype; differentiable

namespace reference {
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
}

}  // namespace cream::ops
