// Decoupled weight decay Adam (Loshchilov & Hutter 2019), the arithmetic and order of torch.optim.AdamW, in place on fp32.
//
//   θ ← θ·(1 − lr·λ)
//   m ← m + (1 − β1)·(g − m)              v ← β2·v + (1 − β2)·g²
//   θ ← θ − lr/(1 − β1ᵗ) · m / (√v / √(1 − β2ᵗ) + ε)
//
// Memory-bound: 28 bytes a parameter. So one pass reads the gradient, applies the clipping factor, updates all three
// and writes the rounded compute copy, where a chain of ATen ops would make eight passes.
#pragma once

#include <cstdint>

#include "support/torch.h"

namespace cream::ops {

struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;              // 1 for the first
  double gradient_scale = 1; // clipping, multiplied into the gradient as it is read
};

// master, m, v: fp32, contiguous, same shape, updated. gradient: fp32. `weight`: the compute copy (bf16, or the same tensor
// as master), rewritten from master, round to nearest even.
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight, const AdamWStep& step);

// Σ x² of an fp32 tensor, in fp64 and in an order that depends on neither the thread count nor the instruction set.
double sum_of_squares(const Tensor& x);

namespace reference {
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight, const AdamWStep& step);
double sum_of_squares(const Tensor& x);
}  // namespace reference

}  // namespace cream::ops
