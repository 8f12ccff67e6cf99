// Rotary embedding, one row per block; `backward` rotates back.
#pragma once

#include "support/block.h"

namespace cream::ops {

struct Rotated {
  float low, high;
};
// A pair, whose entries are `half` apart in the tables.
CREAM_HOST_DEVICE inline Rotated rotate(float a, float b, const float* cos, const float* sin,
                                        int64_t half, bool backward) {
  const float c1 = cos[0], c2 = cos[half], s1 = sin[0], s2 = sin[half];
  if (backward) return {a * c1 + b * s2, b * c2 - a * s1};
  return {a * c1 - b * s1, b * c2 + a * s2};
}

template <class T>
struct RopeBlock {
  const T* x;              // [rows, heads, d], rows `stride` values apart
  const float *cos, *sin;  // [rows, rotary_dim]
  T* y;                    // [rows, heads, d], rows `y_stride` values apart
  int64_t heads, d, stride;
  bool backward;
  int64_t rotary_dim = d,
          y_stride = heads * d;  // entries of a head behind `rotary_dim` stay as they are

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), half = rotary_dim / 2, kept = d - rotary_dim;
    block.each(heads * half, [&](int64_t i) {
      const int64_t head = i / half, j = i % half;
      const T* from = x + row * stride + head * d;
      T* to = y + row * y_stride + head * d;
      const Rotated t = rotate(widen(from[j]), widen(from[j + half]), cos + row * rotary_dim + j,
                               sin + row * rotary_dim + j, half, backward);
      to[j] = narrow<T>(t.low);
      to[j + half] = narrow<T>(t.high);
    });
    block.each(heads * kept, [&](int64_t i) {
      const int64_t at = i / kept * d + rotary_dim + i % kept;
      y[row * y_stride + at] = x[row * stride + at];
    });
  }
};

}  // namespace cream::ops
