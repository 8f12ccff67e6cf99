// y = x · Wᵀ in bf16 with fp32 accumulators: VDPBF16PS on a register tile of up to 14 rows × 32 columns.
// The panel of W (74 KB at K = 1152) stays in L2 while all row blocks pass it; x's block stays in L1.
// Each output is one chain over K in rising pairs whatever the tile, so a row's bits do not depend on its neighbours.
// Register blocking after llama.cpp's tinyBLAS and BLIS; batch invariance after Thinking Machines, "Defeating Nondeterminism".
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "ops/linear/kernel.h"

namespace cream::ops::packed {
namespace {

inline __m512i load(const uint16_t* p) { return _mm512_loadu_si512(p); }

inline void store(uint16_t* y, __m512 v, __mmask16 m) {
  _mm256_mask_storeu_epi16(y, m, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
inline void store(float* y, __m512 v, __mmask16 m) { _mm512_mask_storeu_ps(y, m, v); }

// R rows of one block against one panel. `x`: [chunks][R][32]; `w`: [chunks·16][32][2]; `columns` valid ones.
template <int R, class Out>
void tile(const uint16_t* x, const uint16_t* w, int64_t chunks, Out* y, int64_t stride, int64_t columns) {
  __m512 acc[R][2];
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int32_t* pairs = reinterpret_cast<const int32_t*>(x);
#pragma GCC unroll 2
    for (int j = 0; j < 16; ++j) {
      const __m512bh w0 = reinterpret_cast<__m512bh>(load(w)), w1 = reinterpret_cast<__m512bh>(load(w + 32));
      _mm_prefetch(reinterpret_cast<const char*>(w) + 1024, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(w) + 1088, _MM_HINT_T0);
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const __m512bh pair = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pairs[r * 16 + j]));
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], pair, w0);
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], pair, w1);
      }
      w += 64;
    }
    x += R * k_chunk;
  }
  const uint32_t valid = columns >= 32 ? ~0u : (1u << columns) - 1;
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r) {
    store(y + r * stride, acc[r][0], static_cast<__mmask16>(valid));
    store(y + r * stride + 16, acc[r][1], static_cast<__mmask16>(valid >> 16));
  }
}

template <class Out>
using Tile = void (*)(const uint16_t*, const uint16_t*, int64_t, Out*, int64_t, int64_t);
template <class Out>
constexpr Tile<Out> tiles[block_rows + 1] = {nullptr,       tile<1, Out>,  tile<2, Out>,  tile<3, Out>,  tile<4, Out>,
                                             tile<5, Out>,  tile<6, Out>,  tile<7, Out>,  tile<8, Out>,  tile<9, Out>,
                                             tile<10, Out>, tile<11, Out>, tile<12, Out>, tile<13, Out>, tile<14, Out>};

// Calls f(first row, rows) for blocks of nearly equal height: 40 rows are 14 + 13 + 13, not 14 + 14 + 12.
template <class F>
void each_block(int64_t rows, F&& f) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = rows * b / blocks;
    f(first, rows * (b + 1) / blocks - first);
  }
}

template <class Out>
void multiply(const Product& p) {
  const int64_t depth = padded_in(p.in);
  for (int64_t panel = p.first; panel < p.last; ++panel) {
    const uint16_t* w = p.weight + panel * panel_size(p.in);
    const int64_t columns = std::min(panel_columns, p.out - panel * panel_columns);
    Out* y = static_cast<Out*>(p.y) + (panel - p.first) * panel_columns;
    each_block(p.rows, [&](int64_t row, int64_t rows) {
      tiles<Out>[rows](p.gathered + row * depth, w, depth / k_chunk, y + row * p.stride, p.stride, columns);
    });
  }
}

}  // namespace

void pack_avx512(const uint16_t* weight, int64_t out, int64_t in, int64_t first, int64_t last, uint16_t* packed) {
  const int64_t depth = padded_in(in);
  for (int64_t panel = first; panel < last; ++panel) {
    uint16_t* to = packed + panel * panel_size(in);
    for (int64_t column = 0; column < panel_columns; ++column) {
      const int64_t row = panel * panel_columns + column;
      for (int64_t k = 0; k < depth; k += 2) {
        uint16_t* pair = to + (k / 2 * panel_columns + column) * 2;
        pair[0] = row < out && k < in ? weight[row * in + k] : 0;
        pair[1] = row < out && k + 1 < in ? weight[row * in + k + 1] : 0;
      }
    }
  }
}

void gather_avx512(const uint16_t* x, int64_t stride, int64_t rows, int64_t in, uint16_t* gathered) {
  const int64_t depth = padded_in(in);
  each_block(rows, [&](int64_t row, int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
      const uint16_t* from = x + (row + r) * stride;
      uint16_t* to = gathered + row * depth + r * k_chunk;
      for (int64_t k = 0; k < in; k += k_chunk, to += n * k_chunk) {
        const int64_t left = in - k;
        const __mmask32 m = left >= 32 ? ~0u : (1u << left) - 1;
        _mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(m, from + k));
      }
    }
  });
}

void multiply_avx512(const Product& product) { product.f32 ? multiply<float>(product) : multiply<uint16_t>(product); }

}  // namespace cream::ops::packed
