// AdamW on one element and the codes of the small state forms, for the CPU's scalar loop and the
// GPU alike; formulas in op.h. Not part of kernel.h, because files for one instruction set must not
// include inline functions.
#pragma once

#include <cmath>
#include <cstring>

#include "ops/adamw/kernel.h"
#include "support/host_device.h"

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

CREAM_HOST_DEVICE inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
CREAM_HOST_DEVICE inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// x in [0, 1] → code. A code c > 0 is the float whose upper 12 bits are those of 1 minus (most −
// c): eight steps per doubling, 1 at c = most; code 0 is 0. Rounds to nearest even; below the
// smallest code the result is `least`.
CREAM_HOST_DEVICE inline uint8_t encode_share(float x, int most, int least) {
  if (!(x > 0)) return 0;
  const uint32_t bits = bits_of(x);
  const int code = static_cast<int>((bits + 0x7ffffu + (bits >> 20 & 1)) >> 20) - 0x3f8 + most;
  return static_cast<uint8_t>(code < 1 ? least : code > most ? most : code);
}
CREAM_HOST_DEVICE inline float decode_share(int code, int most) {
  return code == 0 ? 0.0f : float_of(static_cast<uint32_t>(code + 0x3f8 - most) << 20);
}

// m: a sign and seven bits, down to 2⁻¹⁵·⁷⁵ of the block's largest value. v: eight bits, down to
// 2⁻³¹·⁷⁵ and never 0, because √v divides.
CREAM_HOST_DEVICE inline uint8_t encode_m(float m, float scale) {
  const uint8_t code = encode_share(fabsf(m) / scale, 127, 0);
  return m < 0 ? code | 0x80 : code;
}
CREAM_HOST_DEVICE inline float decode_m(uint8_t code, float scale) {
  const float share = decode_share(code & 0x7f, 127) * scale;
  return code & 0x80 ? -share : share;
}
CREAM_HOST_DEVICE inline uint8_t encode_v(float v, float scale) {
  return encode_share(v / scale, 255, 1);
}
CREAM_HOST_DEVICE inline float decode_v(uint8_t code, float scale) {
  return decode_share(code, 255) * scale;
}

// A master is its bf16 rounding plus a signed 16-bit remainder of its 32 bits.
CREAM_HOST_DEVICE inline float join_master(uint16_t weight, int16_t remainder) {
  return float_of((uint32_t{weight} << 16) +
                  static_cast<uint32_t>(static_cast<int32_t>(remainder)));
}
// A master exactly halfway between two bf16 values that rounds down has remainder 2¹⁵, which does
// not fit: it loses its last bit.
CREAM_HOST_DEVICE inline int16_t rest_of_master(float master, uint16_t weight) {
  const int32_t rest = static_cast<int32_t>(bits_of(master) - (uint32_t{weight} << 16));
  return static_cast<int16_t>(rest > 0x7fff ? 0x7fff : rest);
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
