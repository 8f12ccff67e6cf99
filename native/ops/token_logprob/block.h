// Log-softmax at one target per row and its gradient, one row per block: one pass for the
// log-sum-exp (Milakov & Gimelshein 2018), a second for the gradient. A soft-capped head (Gemma 2)
// is capped here: z = cap·tanh(logit/cap), dz/dlogit = 1 − (z/cap)².
#pragma once

#include <cmath>

#include "support/block.h"

namespace cream::ops {

// A running maximum and the sum of exp relative to it.
struct SoftmaxSum {
  float max, sum;
};
struct JoinSums {
  // Gives the same bits in either order of its arguments, with or without fused multiply-add, so
  // lanes that meet in a butterfly stay equal.
  CREAM_HOST_DEVICE SoftmaxSum operator()(SoftmaxSum a, SoftmaxSum b) const {
    if (b.sum == 0) return a;
    if (a.sum == 0) return b;
    if (a.max > b.max) return {a.max, a.sum + b.sum * expf(b.max - a.max)};
    return {b.max, b.sum + a.sum * expf(a.max - b.max)};
  }
};

CREAM_HOST_DEVICE inline float soft_cap(float logit, float cap) {
  return cap > 0 ? cap * tanhf(logit * (1.0f / cap)) : logit;
}

// The log-sum-exp of a row is joined from those of slices of this many tokens, each summed by 512
// threads. Sampling does the same (ops/sample/slice.h), so a sampled token's log-prob has the bits
// that scoring computes.
inline constexpr int64_t kLogitSlice = 16384;
inline constexpr int kSliceThreads = 512;

// The log-sum-exp of `n` logits. keep(i, values) receives what was loaded.
template <int N, class Block, class Keep>
CREAM_HOST_DEVICE SoftmaxSum slice_sum(Block& block, const float* from, int64_t n, float cap,
                                       const Keep& keep) {
  return block.reduce(
      n / N, SoftmaxSum{-INFINITY, 0},
      [&](int64_t i) {
        Vec<float, N> z = load_vec<N>(from + i * N);
        SoftmaxSum part{-INFINITY, 0};
        for (int k = 0; k < N; ++k) {
          z.x[k] = soft_cap(z.x[k], cap);
          part.max = z.x[k] > part.max ? z.x[k] : part.max;
        }
        keep(i, z);
        // A value of −inf adds nothing, also where the maximum is −inf too; NaN stays NaN.
        for (int k = 0; k < N; ++k)
          part.sum += z.x[k] == -INFINITY ? 0.0f : expf(z.x[k] - part.max);
        return part;
      },
      JoinSums{});
}

// N: values per load.
template <int N>
struct TokenLogprobBlock {
  static constexpr int most_threads = kSliceThreads;
  const float* logits;         // [rows, vocab]
  const int64_t* targets;      // [rows]
  float *logprob, *logsumexp;  // [rows]
  int64_t vocab;
  float cap;  // 0: none

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const float* row = logits + block.index() * vocab;
    SoftmaxSum all{0, 0};
    for (int64_t first = 0; first < vocab; first += kLogitSlice)
      all = JoinSums{}(all, slice_sum<N>(block, row + first,
                                         vocab - first < kLogitSlice ? vocab - first : kLogitSlice,
                                         cap, [](int64_t, const Vec<float, N>&) {}));
    block.each(1, [&](int64_t) {
      const float sum = all.max + logf(all.sum);
      logsumexp[block.index()] = sum;
      logprob[block.index()] = soft_cap(row[targets[block.index()]], cap) - sum;
    });
  }
};

template <class T, int N>
struct TokenLogprobGradientBlock {
  const float* logits;  // [rows, vocab]
  const float* logsumexp;
  const int64_t* targets;
  const float* coefficient;  // [rows], d loss / d logprob
  T* d_logits;               // [rows, vocab]; may be `logits` itself where T is float
  int64_t vocab;
  float cap;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index();
    const float c = coefficient[row], sum = logsumexp[row];
    const int64_t target = targets[row];
    block.each(vocab / N, [&](int64_t i) {
      const int64_t at = row * vocab + i * N;
      const Vec<float, N> from = load_vec<N>(logits + at);
      Vec<T, N> to;
      for (int k = 0; k < N; ++k) {
        const float z = soft_cap(from.x[k], cap);
        const float d = c * ((i * N + k == target ? 1.0f : 0.0f) - expf(z - sum));
        to.x[k] = narrow<T>(cap > 0 ? d * (1.0f - z * z / (cap * cap)) : d);
      }
      store_vec<N>(d_logits + at, to);
    });
  }
};

}  // namespace cream::ops
