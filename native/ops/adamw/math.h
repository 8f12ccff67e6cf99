// AdamW on one element, for the CPU's scalar loop and the GPU alike; formulas in op.h. Not part of
// kernel.h, because files for one instruction set must not include inline functions.
#pragma once

#include <cmath>

#include "ops/adamw/codes.h"
#include "ops/adamw/kernel.h"

namespace cream::ops {

// Updates m and v in place and returns the new master.
CREAM_HOST_DEVICE inline float adamw_element(float master, float& m, float& v, float gradient,
                                             const AdamWScalars& s) {
  const float g = gradient * s.gradient_scale;
  m = m + s.one_minus_beta1 * (g - m);
  v = v * s.beta2 + s.one_minus_beta2 * g * g;
  const float denominator = sqrtf(v) / s.root_correction2 + s.epsilon;
  return master * s.decay - s.step_size * m / denominator;
}

// Updates element i, with its state in any form: returns the new m and v, writes master and weight.
CREAM_HOST_DEVICE inline void adamw_forms_element(const AdamWForms& f, int64_t i,
                                                  const AdamWScalars& s, float& m, float& v) {
  const int64_t block = i / kStateBlock;
  m = f.m != nullptr ? f.m[i] : decode_m(f.m_code[i], f.m_scale[block]);
  v = f.v != nullptr ? f.v[i] : decode_v(f.v_code[i], f.v_scale[block]);
  const float master = f.master != nullptr ? f.master[i] : join_master(f.weight[i], f.remainder[i]);
  const float next = adamw_element(
      master, m, v, f.gradient != nullptr ? f.gradient[i] : widen(f.gradient_bf16[i]), s);
  if (f.master != nullptr) f.master[i] = next;
  if (f.weight == nullptr) return;
  f.weight[i] = narrow<uint16_t>(next);
  if (f.remainder != nullptr) f.remainder[i] = rest_of_master(next, f.weight[i]);
}

// Stores m and v; the scales are the block's largest |m| and v.
CREAM_HOST_DEVICE inline void store_moments(const AdamWForms& f, int64_t i, float m, float v,
                                            float m_scale, float v_scale) {
  if (f.m != nullptr) {
    f.m[i] = m;
    f.v[i] = v;
  } else {
    f.m_code[i] = encode_m(m, m_scale);
    f.v_code[i] = encode_v(v, v_scale);
  }
}

}  // namespace cream::ops
