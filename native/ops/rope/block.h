// Rotary embedding by blocks, one row a block; `backward` rotates back.
#pragma once

#include "support/block.h"

namespace cream::ops {

template <class T>
struct RopeBlock {
  const T* x;           // [rows, heads, d], rows `stride` values apart
  const float *cos, *sin;  // [rows, turned]
  T* y;                 // [rows, heads, d], rows `y_stride` values apart
  int64_t heads, d, stride;
  bool backward;
  int64_t turned = d, y_stride = heads * d;  // entries of a head behind `turned` stay as they are

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), half = turned / 2, kept = d - turned;
    block.each(heads * half, [&](int64_t i) {
      const int64_t head = i / half, j = i % half;
      const T* from = x + row * stride + head * d;
      T* to = y + row * y_stride + head * d;
      const float a = widen(from[j]), b = widen(from[j + half]);
      const float *c = cos + row * turned, *s = sin + row * turned;
      const float c1 = c[j], c2 = c[j + half], s1 = s[j], s2 = s[j + half];
      to[j] = narrow<T>(backward ? a * c1 + b * s2 : a * c1 - b * s1);
      to[j + half] = narrow<T>(backward ? b * c2 - a * s1 : b * c2 + a * s2);
    });
    block.each(heads * kept, [&](int64_t i) {
      const int64_t at = i / kept * d + turned + i % kept;
      y[row * y_stride + at] = x[row * stride + at];
    });
  }
};

}  // namespace cream::ops
