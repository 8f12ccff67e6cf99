// Products over head_dim of a few queries with 64 keys, shared by the attention kernel and its
// gradient. For *_simd.cpp only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/attention/ahead.h"
#include "ops/attention/kernel.h"
#include "ops/simd.h"

namespace cream::ops::attend {
namespace {

// Where up to 64 transposed keys lie: 16 keys each, [words][16] 32-bit words (a bf16 pair or one
// fp32), words = d·sizeof(T)/4.
struct Columns {
  const int32_t* at[key_block / 16];

  Columns() = default;
  // Of transpose_keys().
  Columns(const int32_t* keys, int64_t words) {
    for (int64_t c = 0; c < key_block / 16; ++c) at[c] = keys + c * words * 16;
  }
};

// Keys [n ≤ 64][d] → [n/16][words][16], zero up to a multiple of 16 keys.
template <class T>
void transpose_keys(const T* keys, int64_t stride, int64_t n, int64_t d, int32_t* to) {
  const int64_t words = d * static_cast<int64_t>(sizeof(T)) / 4;
  for (int64_t key = 0; key < n; key += 16)
    for (int64_t word = 0; word < words; word += 16) {
      Words r[16];
      for (int64_t i = 0; i < 16; ++i) {
        const int32_t* row = reinterpret_cast<const int32_t*>(keys + (key + i) * stride) + word;
        r[i] = key + i < n ? load_part(row, words - word) : set_words(0);
      }
      transpose16(r);
      for (int64_t w = 0; w < std::min<int64_t>(16, words - word); ++w)
        store_words(to + key * words + (word + w) * 16, r[w]);
    }
}

// The unroll pragmas keep the accumulators in registers: without them GCC 12 leaves the arrays on
// the stack, at half the speed. Scores of R queries against C·16 transposed keys. Returns what is
// left of `ahead`.
template <int R, int C, class T>
Ahead score(const int32_t* query, const int32_t* const* columns, int64_t words, float scale,
            float* scores, Ahead ahead) {
  const int32_t* keys[C];
  std::copy_n(columns, C, keys);
  Floats acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = zero16();
  for (int64_t w = 0; w < words; ++w) {
    ahead.step();
    Words k[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) k[c] = load_words(keys[c] + 16 * w);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c)
        acc[r][c] =
            multiply_add(acc[r][c], query[r * words + w], k[c], static_cast<const T*>(nullptr));
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      store16(scores + r * key_block + 16 * c, mul16(acc[r][c], set16(scale)));
  return ahead;
}

// Vectors that a tile of six queries keeps in registers beside one another.
inline constexpr int most_columns = registers_left == 32 ? 4 : 1;

// `ahead` is fetched meanwhile.
template <int R, class T>
void score_columns(const int32_t* query, const Columns& keys, int64_t words, int64_t columns,
                   float scale, float* scores, Ahead& ahead) {
  if constexpr (most_columns == 1) {
    ahead.spread(columns * words);
    for (int64_t c = 0; c < columns; ++c)
      ahead = score<R, 1, T>(query, keys.at + c, words, scale, scores + 16 * c, ahead);
  } else {
    ahead.spread(words);
    const auto all = [&]<int C>() {
      ahead = score<R, C, T>(query, keys.at, words, scale, scores, ahead);
    };
    switch (columns) {
      case 1:
        return all.template operator()<1>();
      case 2:
        return all.template operator()<2>();
      case 3:
        return all.template operator()<3>();
      default:
        return all.template operator()<4>();
    }
  }
}

}  // namespace
}  // namespace cream::ops::attend
