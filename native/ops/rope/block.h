// Rotary embedding by blocks, one row a block; `backward` rotates back. In decoding the same pass writes the new key and value rows
// into the paged cache: row r's page and slot are pages[r] and slots[r].
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

// Pages are [page][2][kv_heads][page_size][d]; keys are rotated on their way in.
template <class T>
struct CacheWriteBlock {
  const T *k, *v;          // [rows, kv_heads, d], rows `stride` values apart
  const float *cos, *sin;  // [rows, d]
  T* cache;
  const int32_t *pages, *slots;  // [rows]
  int64_t kv_heads, d, stride, page_size;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), half = d / 2, plane = kv_heads * page_size * d;
    T* keys = cache + pages[row] * 2 * plane + slots[row] * d;
    T* values = keys + plane;
    block.each(kv_heads * half, [&](int64_t i) {
      const int64_t head = i / half, j = i % half, from = row * stride + head * d, to = head * page_size * d;
      const float a = widen(k[from + j]), b = widen(k[from + j + half]);
      keys[to + j] = narrow<T>(a * cos[row * d + j] - b * sin[row * d + j]);
      keys[to + j + half] = narrow<T>(b * cos[row * d + j + half] + a * sin[row * d + j + half]);
      values[to + j] = v[from + j];
      values[to + j + half] = v[from + j + half];
    });
  }
};

}  // namespace cream::ops
