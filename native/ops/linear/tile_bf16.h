// The tile of ops/linear/tile.h for bf16 left rows: up to 14 rows × 32 columns, VDPBF16PS over
// rising pairs of the depth.
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

// left: R rows, see above; panel: [chunks·16 pairs][32][2]. The first `columns` of 32 are stored,
// or added to y if Add.
template <int R, Left L, bool Add, class Out>
inline __attribute__((always_inline)) void tile(const uint16_t* left, const uint16_t* panel,
                                                int64_t chunks, Out* y, int64_t stride,
                                                int64_t columns) {
  constexpr int row_step = L == Left::gathered ? 16 : 1, pair_step = L == Left::gathered ? 1 : R;
  const uint32_t valid = columns >= 32 ? ~0u : (1u << columns) - 1;
  const auto low = static_cast<__mmask16>(valid), high = static_cast<__mmask16>(valid >> 16);
  if constexpr (Add) {  // prefetch y for the final add
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
      const __m512bh w0 = reinterpret_cast<__m512bh>(load(panel)),
                     w1 = reinterpret_cast<__m512bh>(load(panel + 32));
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1024, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1088, _MM_HINT_T0);
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const __m512bh pair =
            reinterpret_cast<__m512bh>(_mm512_set1_epi32(pairs[r * row_step + j * pair_step]));
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

}  // namespace
}  // namespace cream::ops::packed
