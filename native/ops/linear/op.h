// y = x · Wᵀ + b + Σ adapters s·(x·Aᵀ)·Bᵀ (LoRA, Hu et al. 2021).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "support/torch.h"

namespace cream {

// A weight matrix and, once `pack` has run, the copy of it that the fast kernel reads (bf16 on CPUs with AVX-512 BF16).
// Copies share both. Whoever changes `weight` in place calls `pack` again before the next fast call.
struct LinearAdapter;
struct Linear {
  Tensor weight;                  // [out, in]
  Tensor bias;                    // [out], or undefined
  std::shared_ptr<void> packed;   // opaque to all but ops/linear; null: the plain path runs
  std::vector<LinearAdapter> adapters;
  double softcap = 0;             // linear_f32 returns c·tanh(y / c): a head with capped logits (Gemma 2); 0: y
};

// Adds scale·(x·downᵀ)·upᵀ to the columns begin … begin + up.weight.size(0) of the result.
struct LinearAdapter {
  int64_t begin = 0;
  Linear down;        // A, [rank, in]
  Linear up;          // B, [columns, rank]
  double scale = 1;
};

namespace ops {

void pack(Linear& linear);    // adapters included; no-op where there is no fast kernel for this dtype and CPU
void unpack(Linear& linear);  // drops the copy: while training changes the weight

// x [rows, in] → [rows, out] in x's dtype. Differentiable; the fast path runs only where no gradient is wanted.
Tensor linear(const Tensor& x, const Linear& w);
// The same, accumulated and returned in fp32: logits.
Tensor linear_f32(const Tensor& x, const Linear& w);

namespace reference {
Tensor linear(const Tensor& x, const Tensor& weight);  // the product alone
Tensor linear_f32(const Tensor& x, const Tensor& weight);
}  // namespace reference

}  // namespace ops
}  // namespace cream
