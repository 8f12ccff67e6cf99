// The register tile that all products here share: up to 14 rows × 32 columns of fp32 sums, VDPBF16PS in rising pairs of the depth.
// Included by *_avx512.cpp only; unnamed namespace for the reason given in ops/avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/linear/kernel.h"

namespace cream::ops::packed {
namespace {

inline __m512i load(const uint16_t* p) { return _mm512_loadu_si512(p); }

inline void store(uint16_t* y, __m512 v, __mmask16 m) {
  _mm256_mask_storeu_epi16(y, m, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
inline void store(float* y, __m512 v, __mmask16 m) { _mm512_mask_storeu_ps(y, m, v); }

// How the tile's R rows lie: `gathered` [chunks][R][16 pairs], as rows are copied; `paired` [pairs][R], as columns are.
enum class Left { gathered, paired };

// `left`: R rows, see above; `panel`: [chunks·16 pairs][32][2]; the first `columns` of 32 are written, or with Add added to what y holds.
template <int R, Left L, bool Add, class Out>
inline __attribute__((always_inline)) void tile(const uint16_t* left, const uint16_t* panel, int64_t chunks, Out* y, int64_t stride, int64_t columns) {
  constexpr int row_step = L == Left::gathered ? 16 : 1, pair_step = L == Left::gathered ? 1 : R;
  const uint32_t valid = columns >= 32 ? ~0u : (1u << columns) - 1;
  const auto low = static_cast<__mmask16>(valid), high = static_cast<__mmask16>(valid >> 16);
  if constexpr (Add) {  // asked for now, there by the end
    for (int r = 0; r < R; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(y + r * stride), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(y + r * stride + 16), _MM_HINT_T0);
    }
  }
  __m512 acc[R][2];
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int32_t* pairs = reinterpret_cast<const int32_t*>(left);
#pragma GCC unroll 2
    for (int j = 0; j < 16; ++j) {
      const __m512bh w0 = reinterpret_cast<__m512bh>(load(panel)), w1 = reinterpret_cast<__m512bh>(load(panel + 32));
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1024, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1088, _MM_HINT_T0);
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const __m512bh pair = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pairs[r * row_step + j * pair_step]));
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], pair, w0);
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], pair, w1);
      }
      panel += 64;
    }
    left += R * k_chunk;
  }
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) {
    if constexpr (Add) {
      acc[r][0] = _mm512_add_ps(acc[r][0], _mm512_maskz_loadu_ps(low, y + r * stride));
      acc[r][1] = _mm512_add_ps(acc[r][1], _mm512_maskz_loadu_ps(high, y + r * stride + 16));
    }
    store(y + r * stride, acc[r][0], low);
    store(y + r * stride + 16, acc[r][1], high);
  }
}

// Calls f(first row, rows) for blocks of nearly equal height: 40 rows are 14 + 13 + 13, not 14 + 14 + 12.
template <class F>
void each_block(int64_t rows, F&& f) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = rows * b / blocks;
    f(first, rows * (b + 1) / blocks - first);
  }
}

template <Left L, bool Add, class Out>
struct Tiles {
  using Tile = void (*)(const uint16_t*, const uint16_t*, int64_t, Out*, int64_t, int64_t);
  template <int R>
  static void of(const uint16_t* left, const uint16_t* panel, int64_t chunks, Out* y, int64_t stride, int64_t columns) {
    tile<R, L, Add>(left, panel, chunks, y, stride, columns);
  }
  static constexpr Tile by_rows[block_rows + 1] = {nullptr, of<1>, of<2>, of<3>, of<4>, of<5>, of<6>, of<7>, of<8>, of<9>, of<10>, of<11>, of<12>, of<13>, of<14>};
};

// One panel against all rows: y[rows, 32].
template <Left L, bool Add, class Out>
void panel_product(const uint16_t* left, int64_t rows, const uint16_t* panel, int64_t depth, Out* y, int64_t stride, int64_t columns) {
  each_block(rows, [&](int64_t row, int64_t n) {
    Tiles<L, Add, Out>::by_rows[n](left + row * depth, panel, depth / k_chunk, y + row * stride, stride, columns);
  });
}

}  // namespace
}  // namespace cream::ops::packed
