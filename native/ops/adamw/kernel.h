// Interface of the AdamW kernels: raw pointers only, so files for one instruction set need no torch
// header.
#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

// Scalars of the step, computed in fp64 and rounded once, as torch does.
struct AdamWScalars {
  float decay;  // 1 − lr·λ
  float one_minus_beta1, beta2, one_minus_beta2;
  float step_size;         // lr / (1 − β1ᵗ)
  float root_correction2;  // √(1 − β2ᵗ)
  float epsilon, gradient_scale;
};
struct AdamWStep;
AdamWScalars adamw_scalars(const AdamWStep& step);

// A parameter's state in any combination of the small forms (op.h). Pointers of a form that is not
// used are null.
struct AdamWForms {
  float* master;  // null: split into weight and remainder
  int16_t* remainder;
  uint16_t* weight;  // bf16; null if master is the weight
  float *m, *v;      // null: codes and scales
  uint8_t *m_code, *v_code;
  float *m_scale, *v_scale;  // one per kStateBlock elements
  const float* gradient;     // null: gradient_bf16
  const uint16_t* gradient_bf16;
  int64_t n;
};
inline constexpr int64_t kStateBlock = 256;
// Updates blocks first … last−1 of kStateBlock elements.
void adamw_forms_scalar(const AdamWForms& forms, int64_t first, int64_t last,
                        const AdamWScalars& s);

// bf16: the compute copy (n entries), or null if master is the weight.
void adamw_scalar(float* master, float* m, float* v, const float* gradient, uint16_t* bf16,
                  int64_t n, const AdamWScalars& s);
// Σ x² in 16 fp64 lanes (entry i goes to lane i mod 16), which are added in order.
double sum_of_squares_scalar(const float* x, int64_t n);

// n is a multiple of 16. The same operations in the same order without fused multiply-add, so the
// same bits as the scalar version.
template <Level L>
void adamw_values(float* master, float* m, float* v, const float* gradient, uint16_t* bf16,
                  int64_t n, const AdamWScalars& s);
// Of whole blocks alone, with the bits of adamw_forms_scalar.
template <Level L>
void adamw_forms_values(const AdamWForms& forms, int64_t first, int64_t last,
                        const AdamWScalars& s);
template <Level L>
double sum_of_squares_values(const float* x, int64_t n);

}  // namespace cream::ops
