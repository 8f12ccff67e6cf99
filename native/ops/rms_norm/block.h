// RMS norm, one row per block: y = round(x / sqrt(mean(x²) + eps)) · weight, after adding the
// residual if there is one. Rounds where the reference rounds. N values per load; width is a
// multiple of N and rows are aligned to it.
#pragma once

#include <cmath>

#include "support/block.h"

namespace cream::ops {

template <class T, int N>
struct RmsNormBlock {
  const T* x;         // [rows, width]
  const T* residual;  // the same, or null: then h = x
  T* h;               // out: round(x + residual), may be x; null without one
  const T* weight;    // [width]
  T* y;               // [rows, width]
  float* inverse;  // out: 1 / sqrt(mean(h²) + eps) of each row, for the backward pass; may be null
  int64_t width;
  float eps, offset;  // offset is added to the weight (Gemma: 1)

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index() * width;
    const auto input = [&](int64_t i) {
      Vec<T, N> v = load_vec<N>(x + row + i * N);
      if (residual == nullptr) return v;
      const Vec<T, N> r = load_vec<N>(residual + row + i * N);
      for (int j = 0; j < N; ++j) v.x[j] = narrow<T>(widen(v.x[j]) + widen(r.x[j]));
      return v;
    };
    const float total = block.reduce(
        width / N, 0.0f,
        [&](int64_t i) {
          const Vec<T, N> v = input(i);
          float sum = 0;
          for (int j = 0; j < N; ++j) sum += widen(v.x[j]) * widen(v.x[j]);
          return sum;
        },
        Sum{});
    const float scale = 1.0f / sqrtf(total / static_cast<float>(width) + eps);
    block.each(width / N, [&](int64_t i) {
      const Vec<T, N> v = input(i), w = load_vec<N>(weight + i * N);
      Vec<T, N> out;
      for (int j = 0; j < N; ++j) {
        const float n = widen(v.x[j]) * scale;
        out.x[j] = narrow<T>(offset != 0 ? n * (widen(w.x[j]) + offset)
                                         : widen(narrow<T>(n)) * widen(w.x[j]));
      }
      store_vec(y + row + i * N, out);
      if (residual != nullptr) store_vec(h + row + i * N, v);
      if (inverse != nullptr && i == 0) inverse[block.index()] = scale;
    });
  }
};

// Gradients, with n = h·s (s: the row's inverse) and g = dy·(weight + offset):
//   dh = s·(g − n·mean(g·n)) + added        dweight = Σ_rows dy·n
// One block takes `chunk` rows, so dweight is summed in a fixed order: the rows of a chunk, then
// (by the caller) the chunks. Shared memory: width fp32.
template <class T, int N>
struct RmsNormBackwardBlock {
  const T* h;            // [rows, width]
  const T* weight;       // [width]
  const float* inverse;  // [rows]
  const T* dy;           // [rows, width]
  T* dh;                 // [rows, width]
  float* dweight;        // [blocks, width]; null: not computed
  int64_t rows, width, chunk;
  float offset;
  const T* added = nullptr;  // [rows, width]: h's gradient from elsewhere; null: none

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, last = first + chunk < rows ? first + chunk : rows;
    // Each thread's own columns: no sync. Column i·N + j at j·(width / N) + i: neighbouring threads
    // are in neighbouring banks.
    float* sums = block.template shared<float>();
    const int64_t step = width / N;
    block.each(step, [&](int64_t i) {
      for (int j = 0; j < N; ++j) sums[j * step + i] = 0;
    });
    for (int64_t row = first; row < last; ++row) {
      const int64_t at = row * width;
      const float scale = inverse[row];
      const float mean =
          block.reduce(
              width / N, 0.0f,
              [&](int64_t i) {
                const Vec<T, N> v = load_vec<N>(h + at + i * N), d = load_vec<N>(dy + at + i * N),
                                w = load_vec<N>(weight + i * N);
                float sum = 0;
                for (int j = 0; j < N; ++j)
                  sum += widen(d.x[j]) * (widen(w.x[j]) + offset) * widen(v.x[j]) * scale;
                return sum;
              },
              Sum{}) /
          static_cast<float>(width);
      block.each(width / N, [&](int64_t i) {
        const Vec<T, N> v = load_vec<N>(h + at + i * N), d = load_vec<N>(dy + at + i * N),
                        w = load_vec<N>(weight + i * N);
        Vec<T, N> out, more{};
        if (added != nullptr) more = load_vec<N>(added + at + i * N);
        for (int j = 0; j < N; ++j) {
          const float n = widen(v.x[j]) * scale,
                      own = scale * (widen(d.x[j]) * (widen(w.x[j]) + offset) - n * mean);
          out.x[j] = narrow<T>(added != nullptr ? own + widen(more.x[j]) : own);
          sums[j * step + i] += widen(d.x[j]) * n;
        }
        store_vec(dh + at + i * N, out);
      });
    }
    if (dweight == nullptr) return;
    block.each(width / N, [&](int64_t i) {
      for (int j = 0; j < N; ++j) dweight[block.index() * width + i * N + j] = sums[j * step + i];
    });
  }
};

}  // namespace cream::ops
