// Rotary embedding, one row per block; `backward` rotates back.
#pragma once

#include "support/block.h"

namespace cream::ops {

struct Rotated {
  float low, high;
};
// a·x + b·y with one rounding fewer on a GPU, in every kernel alike.
CREAM_HOST_DEVICE inline float sum_of_products(float a, float x, float b, float y) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, x, __fmul_rn(b, y));
#else
  return a * x + b * y;
#endif
}
CREAM_HOST_DEVICE inline Rotated rotate(float a, float b, float c1, float c2, float s1, float s2,
                                        bool backward) {
  if (backward) return {sum_of_products(a, c1, b, s2), sum_of_products(b, c2, -a, s1)};
  return {sum_of_products(a, c1, -b, s1), sum_of_products(b, c2, a, s2)};
}

// The halves of N pairs of a head, which are `half` apart in x and in the tables.
template <class T, int N>
struct Pairs {
  Vec<T, N> low, high;

  CREAM_HOST_DEVICE Pairs(const T* x, const float* cos, const float* sin, int half, bool backward)
      : low(load_vec<N>(x)), high(load_vec<N>(x + half)) {
    constexpr int wide = N < 4 ? N : 4;  // of fp32
    for (int at = 0; at < N; at += wide) {
      const Vec<float, wide> c1 = load_vec<wide>(cos + at), c2 = load_vec<wide>(cos + half + at),
                             s1 = load_vec<wide>(sin + at), s2 = load_vec<wide>(sin + half + at);
      for (int j = 0; j < wide; ++j) {
        const Rotated t = rotate(widen(low.x[at + j]), widen(high.x[at + j]), c1.x[j], c2.x[j],
                                 s1.x[j], s2.x[j], backward);
        low.x[at + j] = narrow<T>(t.low), high.x[at + j] = narrow<T>(t.high);
      }
    }
  }
};

// N: values per load.
template <class T, int N = 1>
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
    const int64_t row = block.index();
    const int half = static_cast<int>(rotary_dim / 2), steps = half / N,
              kept = static_cast<int>(d - rotary_dim);
    const float *const c = cos + row * rotary_dim, *const s = sin + row * rotary_dim;
    block.each(heads * steps, [&](int64_t i) {
      const int head = static_cast<int>(i) / steps, j = static_cast<int>(i) % steps * N;
      const Pairs<T, N> pairs(x + row * stride + head * d + j, c + j, s + j, half, backward);
      T* const to = y + row * y_stride + head * d + j;
      store_vec(to, pairs.low), store_vec(to + half, pairs.high);
    });
    block.each(heads * kept, [&](int64_t i) {
      const int64_t at = static_cast<int>(i) / kept * d + rotary_dim + static_cast<int>(i) % kept;
      y[row * y_stride + at] = x[row * stride + at];
    });
  }
};

}  // namespace cream::ops
