// y = x · Wᵀ + b + Σ adapters s·(x·Aᵀ)·Bᵀ (LoRA, Hu et al. 2021).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/torch.h"

namespace cream {

// A weight matrix and, once `pack` has run, the copy of it that the fast kernels read (bf16 or
// fp32, on CPUs with AVX2). Copies share both. Whoever changes `weight` in place calls `pack` again
// before the next fast call; the copy is rewritten in place too.
struct LinearAdapter;
struct Linear {
  Tensor weight;    // [out, in]
  Tensor bias;      // [out], or undefined
  Tensor gradient;  // [out, in] fp32 or bf16, or undefined: what a backward pass adds the weight's
                    // gradient to
  std::shared_ptr<void> packed;  // opaque to all but ops/linear; null: the plain path runs
  std::vector<LinearAdapter> adapters;
  double softcap =
      0;  // linear_f32 returns c·tanh(y / c): a head with capped logits (Gemma 2); 0: y
};

// Element i of x, row-major, is dropped where the i-th 16 bits of the Philox stream that the rest
// names are below rate·2^16.
struct InputDropout {
  double rate = 0;  // 0: none; below 1
  uint64_t seed = 0;
  uint32_t step = 0, micro_batch = 0, site = 0;  // site: which adapter of the model
};

// Adds scale·(x·downᵀ)·upᵀ to the columns begin … begin + up.weight.size(0) of the result; x goes
// through `dropout` before.
struct LinearAdapter {
  int64_t begin = 0;
  Linear down;  // A, [rank, in]
  Linear up;    // B, [columns, rank]
  double scale = 1;
  std::string module;    // Hugging Face's path within a layer, "self_attn.q_proj"
  InputDropout dropout;  // set by training on its own copies
};

namespace ops {

void pack(Linear& linear);  // adapters included; no-op where there is no fast kernel for this dtype
                            // and CPU
void pack_adapters(Linear& linear);  // the adapters alone
void unpack(Linear& linear);         // drops the copies: while training changes the weight
void unpack_adapters(Linear& linear);

// 1 where an element of [rows, columns] is kept and 0 where it is dropped; `options` give the
// dtype.
Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options);

// x [rows, in] → [rows, out] in x's dtype. Differentiable. A weight that requires a gradient itself
// takes the plain path. One that does not runs fast, the same bits under autograd as without; where
// x requires a gradient, the weight's is added to w.gradient, if defined.
Tensor linear(const Tensor& x, const Linear& w);
// The same, accumulated and returned in fp32: logits.
Tensor linear_f32(const Tensor& x, const Linear& w);

// Gradients of y = x·Wᵀ: dy·W [rows, in] in dy's dtype; and sum [out, in] += dyᵀ·x. dy [rows, out];
// sum is fp32, or bf16 where dy is.
Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);

namespace device {
// Products of bf16 accumulated and returned in fp32: cuBLAS on a CUDA device, the reference
// elsewhere.
Tensor linear_f32(const Tensor& x, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);
Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options);  // bf16 and fp32
}  // namespace device

namespace reference {
Tensor linear(const Tensor& x, const Tensor& weight);  // the product alone
Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);
Tensor linear_f32(const Tensor& x, const Tensor& weight);
}  // namespace reference

}  // namespace ops
}  // namespace cream
