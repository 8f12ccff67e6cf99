// The two products behind a linear layer's gradients, on the forward's tile. Both have as depth what lies one row behind the other in
// memory, so an operand is made by laying two rows' values side by side: nothing is turned.
#include <algorithm>

#include "ops/linear/tile_avx512.h"

namespace cream::ops::packed {
namespace {

// Rows lie too far apart for the CPU to guess the next one.
constexpr int64_t ahead = 32;
inline void fetch(const uint16_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

void pack_columns_avx512(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns, int64_t first, int64_t last, uint16_t* panels) {
  static constexpr uint16_t order[64] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                         11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
                                         22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  const __m512i low = load(order), high = load(order + 32);
  for (int64_t k = 0; k < padded_in(depth); k += 2) {
    const uint16_t* row = matrix + k * stride;
    for (int64_t panel = first; panel < last; ++panel) {
      fetch(row + ahead * stride + panel * panel_columns);
      fetch(row + (ahead + 1) * stride + panel * panel_columns);
      const int64_t column = panel * panel_columns, left = columns - column;
      const __mmask32 m = left >= 32 ? ~0u : (1u << left) - 1;
      const __m512i even = _mm512_maskz_loadu_epi16(k < depth ? m : 0, row + column), odd = _mm512_maskz_loadu_epi16(k + 1 < depth ? m : 0, row + stride + column);
      uint16_t* to = panels + (panel - first) * panel_size(depth) + k * panel_columns;
      _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, low, odd));
      _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(even, high, odd));
    }
  }
}

void pair_columns_avx512(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns, uint16_t* paired) {
  const int64_t padded = padded_in(depth);
  for (int64_t chunk = 0; chunk < padded; chunk += k_chunk) {
    each_block(columns, [&](int64_t column, int64_t n) {
      const auto m = static_cast<__mmask16>((1u << n) - 1);
      uint16_t* to = paired + column * padded + chunk * n;
      for (int64_t k = chunk; k < chunk + k_chunk; k += 2, to += 2 * n) {
        const uint16_t* row = matrix + k * stride + column;
        fetch(row + k_chunk * stride);
        fetch(row + (k_chunk + 1) * stride);
        const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(k < depth ? m : 0, row));
        const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(k + 1 < depth ? m : 0, row + stride));
        _mm512_mask_storeu_epi32(to, m, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
      }
    });
  }
}

void multiply_panel_avx512(const PanelProduct& p) {
  const int64_t depth = padded_in(p.depth);
  if (!p.f32) panel_product<Left::gathered, false>(p.left, p.rows, p.panel, depth, static_cast<uint16_t*>(p.y), p.stride, p.columns);
  else panel_product<Left::gathered, true>(p.left, p.rows, p.panel, depth, static_cast<float*>(p.y), p.stride, p.columns);
}

void add_paired_avx512(const PairedProduct& p) {
  const int64_t depth = padded_in(p.depth);
  // A block of left rows stays in L1 while the panels pass it.
  each_block(p.rows, [&](int64_t row, int64_t n) {
    for (int64_t panel = p.first; panel < p.last; ++panel)
      Tiles<Left::paired, true, float>::by_rows[n](p.left + row * depth, p.panels + panel * panel_size(p.depth), depth / k_chunk,
                                                   p.y + row * p.columns + panel * panel_columns, p.columns,
                                                   std::min(panel_columns, p.columns - panel * panel_columns));
  });
}

}  // namespace cream::ops::packed
