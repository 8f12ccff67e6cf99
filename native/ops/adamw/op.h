// Adam with decoupled weight decay (Loshchilov & Hutter 2019), with the arithmetic and order of
// torch.optim.AdamW, in place in fp32.
//
//   θ ← θ·(1 − lr·λ)
//   m ← m + (1 − β1)·(g − m)              v ← β2·v + (1 − β2)·g²
//   θ ← θ − lr/(1 − β1ᵗ) · m / (√v / √(1 − β2ᵗ) + ε)
//
// A bf16 weight with fp32 master, m, v and gradient takes 18 bytes per parameter. Three smaller
// forms may be chosen independently:
//   split master   The bf16 weight is the upper half of the master; 16 bits beside it hold the
//                  rest.
//   8-bit m and v  Blocks of 256 elements with one fp32 scale, the block's largest value
//                  (Dettmers et al. 2022, arXiv:2110.02861). The code is a float with a 3-bit
//                  mantissa: relative steps of 1/8 from the largest value down to 2⁻¹⁶ (m) and
//                  2⁻³² (v) of it. Dettmers' dynamic code rounds a v far below its block's
//                  largest to 0, where m/√v explodes (measured: docs/memory.md).
//   bf16 gradient
// Together they take 8 bytes per parameter. The arithmetic between load and store is the same fp32.
//
// The op is memory-bound at 28 bytes per parameter. One pass reads the gradient, applies the
// clipping factor, updates all three tensors and writes the rounded compute copy; a chain of ATen
// ops would make eight passes.
#pragma once

#include <cstdint>
#include <vector>

#include "support/torch.h"

namespace cream::ops {

struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;               // from 1
  double gradient_scale = 1;  // clipping factor of the gradient
};

// master, m, v: fp32, contiguous, the same shape; updated. gradient: fp32. weight: the compute copy
// (bf16, or the same tensor as master), rewritten from master with round to nearest even.
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight,
           const AdamWStep& step);

// A parameter and its training state. All tensors are contiguous and on one device; n elements.
struct AdamWState {
  Tensor weight;            // the compute copy: fp32 or bf16
  Tensor master;            // fp32; the same tensor as an fp32 `weight`; undefined if split
  Tensor remainder;         // int16, weight's shape: lower half of a split master
  Tensor m, v;              // fp32 of weight's shape, or uint8 codes of it
  Tensor m_scale, v_scale;  // [⌈n / 256⌉] fp32 with codes; else undefined
  Tensor gradient;          // fp32 or bf16
};
void adamw(AdamWState& state, const AdamWStep& step);

// Read and write the state as fp32, whatever form it is stored in.
Tensor master_of(const AdamWState& state);
void set_master(AdamWState& state, const Tensor& master);  // the weight is rewritten too
Tensor first_moment_of(const AdamWState& state);
Tensor second_moment_of(const AdamWState& state);

// Σ x² of fp32 or bf16 tensors in fp64. The order of summation depends on neither the thread count
// nor the instruction set. Synchronises with a device once.
double sum_of_squares(const Tensor& x);
double sum_of_squares(const std::vector<Tensor>& tensors);

namespace reference {
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight,
           const AdamWStep& step);
void adamw(AdamWState& state, const AdamWStep& step);
double sum_of_squares(const Tensor& x);
}  // namespace reference

// On a device (support/device.h).
namespace device {
void adamw(AdamWState& state, const AdamWStep& step);
double sum_of_squares(const std::vector<Tensor>& tensors);
}  // namespace device

}  // namespace cream::ops
