// y = x · Wᵀ + b + Σ adapters s·(x·Aᵀ)·Bᵀ (LoRA, Hu et al. 2021).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/torch.h"

namespace cream {

struct LinearAdapter;

// A weight matrix and, after `pack`, its copy in the layout of the fast kernels (bf16 or fp32, on
// CPUs with AVX2). Copies of a Linear share both. After an in-place change of `weight`, call `pack`
// again before the next fast call; it rewrites the packed copy in place.
struct Linear {
  Tensor weight;    // [out, in]
  Tensor bias;      // [out], or undefined
  Tensor gradient;  // [out, in] fp32 or bf16, or undefined: the backward pass accumulates the
                    // weight's gradient here
  std::shared_ptr<void> packed;  // private to ops/linear; null: the plain path runs
  std::vector<LinearAdapter> adapters;
};

// The output layer: with y = multiplier·x·Wᵀ, the logits are y, or c·tanh(y / c) under a soft cap
// c.
struct Head : Linear {
  double multiplier = 1;  // Granite
  double softcap = 0;     // c (Gemma 2); 0: no cap
};

// Dropout of x: element i, row-major, is dropped if the i-th 16-bit number of the Philox stream
// that the other fields select is below rate·2^16.
struct InputDropout {
  double rate = 0;  // 0: none; below 1
  uint64_t seed = 0;
  uint32_t step = 0, micro_batch = 0, site = 0;  // site: the adapter's index
};

// Adds scale·(dropout(x)·downᵀ)·upᵀ to columns begin … begin + up.weight.size(0) − 1 of the result.
struct LinearAdapter {
  int64_t begin = 0;
  Linear down;  // A, [rank, in]
  Linear up;    // B, [columns, rank]
  double scale = 1;
  std::string module;    // Hugging Face's path within a layer, "self_attn.q_proj"
  InputDropout dropout;  // set by training, on its own copies
};

namespace ops {

void pack(Linear& linear);  // with its adapters; no-op without a fast kernel for this dtype and
                            // CPU
void pack_adapters(Linear& linear);  // only the adapters
void unpack(Linear& linear);         // drops the packed copies, e.g. while training
void unpack_adapters(Linear& linear);

// [rows, columns] with 1 for kept and 0 for dropped elements, in the dtype of `options`.
Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options);

// x [rows, in] → [rows, out] in x's dtype. Differentiable. A weight that requires a gradient takes
// the plain path. Otherwise the fast path runs, with the same bits with and without autograd; if x
// requires a gradient, the weight's gradient is added to w.gradient where defined.
Tensor linear(const Tensor& x, const Linear& w);
// linear() that accumulates and returns fp32, for logits.
Tensor linear_f32(const Tensor& x, const Linear& w);
// The logits [rows, vocab] of hidden states x [rows, hidden]. Not differentiable.
Tensor linear_f32(const Tensor& x, const Head& head);

// Gradients of y = x·Wᵀ, dy [rows, out]: the first returns dy·W [rows, in] in dy's dtype; the
// second does sum [out, in] += dyᵀ·x. sum is fp32, or bf16 if dy is.
Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);

namespace device {
// bf16 products accumulated and returned in fp32: cuBLAS on a CUDA device, the reference elsewhere.
Tensor linear_f32(const Tensor& x, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);
Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options);  // bf16 and fp32
}  // namespace device

namespace reference {
Tensor linear(const Tensor& x, const Tensor& weight);  // without bias and adapters
Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight);
void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x);
Tensor linear_f32(const Tensor& x, const Tensor& weight);
}  // namespace reference

}  // namespace ops
}  // namespace cream
