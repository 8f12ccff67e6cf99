// Rotary embedding by blocks, one row a block; `backward` rotates back.
#pragma once

#include "support/block.h"

namespace cream::ops {

template <class T>
struct RopeBlock {
  const T* x;           // [rows, heads, d], rows `stride` values apart
  const float *cos, *sin;  // [rows, d]
  T* y;                 // [rows, heads, d]
  int64_t heads, d, stride;
  bool backward;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), half = d / 2;
    block.each(heads * half, [&](int64_t i) {
      const int64_t head = i / half, j = i % half;
      const T* from = x + row * stride + head * d;
      T* to = y + (row * heads + head) * d;
      const float a = widen(from[j]), b = widen(from[j + half]);
      const float c1 = cos[row * d + j], c2 = cos[row * d + j + half], s1 = sin[row * d + j], s2 = sin[row * d + j + half];
      to[j] = narrow<T>(backward ? a * c1 + b * s2 : a * c1 - b * s1);
      to[j + half] = narrow<T>(backward ? b * c2 - a * s1 : b * c2 + a * s2);
    });
  }
};

}  // namespace cream::ops
