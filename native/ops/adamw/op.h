// Decoupled weight decay Adam (Loshchilov & Hutter 2019), the arithmetic and order of
// torch.optim.AdamW, in place on fp32.
//
//   θ ← θ·(1 − lr·λ)
//   m ← m + (1 − β1)·(g − m)              v ← β2·v + (1 − β2)·g²
//   θ ← θ − lr/(1 − β1ᵗ) · m / (√v / √(1 − β2ᵗ) + ε)
//
// The state has small forms, each of which may be chosen alone (a bf16 weight, its fp32 master, m,
// v and gradient take 18 bytes a parameter):
//   split master   the bf16 weight is the upper part of the master already; 16 bits beside it hold
//   the rest 8-bit m and v  blocks of 256 elements with one fp32 scale, their largest (Dettmers et
//   al. 2022, arXiv:2110.02861). The code is a float
//                  of 3 bits of mantissa: relative steps of 1/8 from the largest down to 2⁻¹⁶ (m)
//                  and 2⁻³² (v) of it. Dettmers' dynamic code rounds a v far below its block's
//                  largest to 0, where m/√v explodes (measured: docs/memory.md).
//   bf16 gradient
// All together 8 bytes. The arithmetic between reading and writing is the same fp32 in all of them.
//
// Memory-bound: 28 bytes a parameter. So one pass reads the gradient, applies the clipping factor,
// updates all three and writes the rounded compute copy, where a chain of ATen ops would make eight
// passes.
#pragma once

#include <cstdint>
#include <vector>

#include "support/torch.h"

namespace cream::ops {

struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;               // 1 for the first
  double gradient_scale = 1;  // clipping, multiplied into the gradient as it is read
};

// master, m, v: fp32, contiguous, same shape, updated. gradient: fp32. `weight`: the compute copy
// (bf16, or the same tensor as master), rewritten from master, round to nearest even.
void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight,
           const AdamWStep& step);

// A parameter and what training keeps of it. All contiguous, on one device; n elements.
struct AdamWState {
  Tensor weight;  // what the model computes with: fp32 or bf16
  Tensor
      master;  // fp32; the same tensor as `weight` where that is fp32; undefined where it is split
  Tensor remainder;         // int16, weight's shape: with a bf16 weight, the split master
  Tensor m, v;              // fp32 of weight's shape, or uint8 codes of it
  Tensor m_scale, v_scale;  // [⌈n / 256⌉] fp32 beside codes; else undefined
  Tensor gradient;          // fp32 or bf16
};
void adamw(AdamWState& state, const AdamWStep& step);

// fp32 values of what may be held in a small form, and back.
Tensor master_of(const AdamWState& state);
void set_master(AdamWState& state, const Tensor& master);  // the weight is rewritten too
Tensor first_moment_of(const AdamWState& state);
Tensor second_moment_of(const AdamWState& state);

// Σ x² of fp32 or bf16 tensors, in fp64 and in an order that depends on neither the thread count
// nor the instruction set. One wait for a device.
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
