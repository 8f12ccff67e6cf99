// y = x · Wᵀ in bf16 with fp32 accumulators: VDPBF16PS on a register tile of up to 14 rows × 32 columns.
// The panel of W (74 KB at K = 1152) stays in L2 while all row blocks pass it; x's block stays in L1.
// Each output is one chain over K in rising pairs whatever the tile, so a row's bits do not depend on its neighbours.
// Register blocking after llama.cpp's tinyBLAS and BLIS; batch invariance after Thinking Machines, "Defeating Nondeterminism".
#include <algorithm>

#include "ops/linear/tile_avx512.h"

namespace cream::ops::packed {
namespace {

template <class Out>
void multiply(const Product& p) {
  for (int64_t panel = p.first; panel < p.last; ++panel) {
    const int64_t columns = std::min(panel_columns, p.out - panel * panel_columns);
    Out* y = static_cast<Out*>(p.y) + (panel - p.first) * panel_columns;
    panel_product<Left::gathered, false>(p.gathered, p.rows, p.weight + panel * panel_size(p.in), padded_in(p.in), y, p.stride, columns);
  }
}

// 16 rows of 16 pairs → 16 pairs of 16 rows.
void turn(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

}  // namespace

void pack_avx512(const uint16_t* weight, int64_t out, int64_t in, int64_t first, int64_t last, uint16_t* packed) {
  const int64_t depth = padded_in(in);
  for (int64_t panel = first; panel < last; ++panel) {
    uint16_t* to = packed + panel * panel_size(in);
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t row = panel * panel_columns + half * 16, valid = std::min<int64_t>(16, out - row);
      for (int64_t k = 0; k < depth; k += k_chunk) {
        const int64_t left = in - k;
        const __mmask32 m = left >= 32 ? ~0u : (1u << left) - 1;
        __m512i lines[16];
        for (int64_t i = 0; i < 16; ++i) lines[i] = i < valid ? _mm512_maskz_loadu_epi16(m, weight + (row + i) * in + k) : _mm512_setzero_si512();
        turn(lines);
        for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(to + ((k / 2 + j) * panel_columns + half * 16) * 2, lines[j]);
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
