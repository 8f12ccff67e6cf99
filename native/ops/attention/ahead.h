// What the attention kernel fetches into the cache while it computes. For *_simd.cpp only.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "ops/attention/kernel.h"

namespace cream::ops::attend {
namespace {

// Memory that is fetched while something else is computed, a few cache lines per step of a loop: a
// core has few requests under way, so many at once would make it wait.
struct Ahead {
  static constexpr int64_t line = 64;
  const char* at = nullptr;
  const char* end = nullptr;
  int64_t lines = 0;  // per step

  void spread(int64_t steps) {
    lines = steps > 0 ? ((end - at + line - 1) / line + steps - 1) / steps : 0;
  }
  void step() {
    for (int64_t i = 0; i < lines && at < end; ++i, at += line) _mm_prefetch(at, _MM_HINT_T1);
  }
  void rest() {
    for (; at < end; at += line) _mm_prefetch(at, _MM_HINT_T1);
  }
};

// The first block of `keys` from key `start` on: what is contiguous is left to be fetched as the
// computation goes on, the rest is fetched at once. A cache is read once per step, and its runs are
// too short for the hardware prefetcher.
template <class T>
void first_block(const Keys<T>& keys, int64_t start, int64_t d, Ahead& of_keys, Ahead& of_values) {
  const int64_t n = std::min(key_block, keys.length - start);
  const auto rows = [&](const T* from, Ahead& ahead) {
    const auto at = [&](int64_t i) { return reinterpret_cast<const char*>(from + i); };
    if (keys.stride == d) {
      ahead = {at(start * d), at((start + n) * d)};
    } else {
      for (int64_t row = start; row < start + n; ++row)
        Ahead{at(row * keys.stride), at(row * keys.stride + d)}.rest();
    }
  };
  rows(keys.keys, of_keys);
  rows(keys.values, of_values);
}

}  // namespace
}  // namespace cream::ops::attend
