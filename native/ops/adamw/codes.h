// The codes of the small state forms. Everything is in an unnamed namespace, so that a file for one
// instruction set keeps its own copies of the functions.
#pragma once

#include <cstdint>
#include <cstring>

#include "support/host_device.h"

namespace cream::ops {
namespace {

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
  const uint8_t code = encode_share((m < 0 ? -m : m) / scale, 127, 0);
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

}  // namespace
}  // namespace cream::ops
