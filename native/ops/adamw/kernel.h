// What the AdamW kernels share: raw pointers only, so that a file for one instruction set needs no
// torch header.
#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

// The step's scalars, derived in fp64 and rounded once, as torch does.
struct AdamWScalars {
  float decay;  // 1 − lr·λ
  float one_minus_beta1, beta2, one_minus_beta2;
  float step_size;         // lr / (1 − β1ᵗ)
  float root_correction2;  // √(1 − β2ᵗ)
  float epsilon, gradient_scale;
};
struct AdamWStep;
AdamWScalars adamw_scalars(const AdamWStep& step);

// The state of a parameter in the forms that save memory (op.h), each on its own: a pointer of the
// other form is null.
struct AdamWForms {
  float* master;  // null: weight and remainder hold it
  int16_t* remainder;
  uint16_t* weight;  // bf16; null where the master is the weight itself
  float *m, *v;      // null: codes and scales
  uint8_t *m_code, *v_code;
  float *m_scale, *v_scale;  // one a block of kStateBlock
  const float* gradient;     // null: gradient_bf16
  const uint16_t* gradient_bf16;
  int64_t n;
};
inline constexpr int64_t kStateBlock = 256;
// Blocks first … last of kStateBlock elements.
void adamw_forms_scalar(const AdamWForms& forms, int64_t first, int64_t last,
                        const AdamWScalars& s);

// `bf16` (n entries) or null where master is itself the compute weight.
void adamw_scalar(float* master, float* m, float* v, const float* gradient, uint16_t* bf16,
                  int64_t n, const AdamWScalars& s);
// Σ x², 16 fp64 lanes (entry i goes to lane i mod 16), lanes added in order.
double sum_of_squares_scalar(const float* x, int64_t n);

// n is a multiple of 16. Same operations in the same order, no fused multiply-add: the same bits.
template <Level L>
void adamw_values(float* master, float* m, float* v, const float* gradient, uint16_t* bf16,
                  int64_t n, const AdamWScalars& s);
template <Level L>
double sum_of_squares_values(const float* x, int64_t n);

}  // namespace cream::ops
