// Decoupled weight decay Adam (Loshchilov & Hutter 2019), the arithmetic and order of torch.optim.AdamW, in place on fp32.
#pragma once

#include <cstdint>

#include "support/torch.h"

namespace cream::ops {

struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;              // 1 for the first
  double gradient_scale = 1; // clipping, multiplied into the gradient as it is read
};

// master, m, v: fp32, same shape, updated; gradient: fp32. `weight`: the compute copy (bf16 or the same tensor as master), rewritten from master.
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight, const AdamWStep& step);

namespace reference {
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight, const AdamWStep& step);
}

}  // namespace cream::ops
