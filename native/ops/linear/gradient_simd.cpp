// The two products of a linear layer's gradients, on the forward's tile. In both, the depth runs
// across the rows in memory, so an operand is built by interleaving two rows: nothing is
// transposed.
#include <algorithm>

#include "ops/linear/tile.h"

namespace cream::ops::packed {
namespace {

// Prefetch distance in rows: rows lie too far apart for the hardware prefetcher.
constexpr int64_t ahead = 32;
inline void fetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

// Interleaves 32 columns of two rows, of which `…_left` exist, as two steps of a panel.
inline void lay_two(const uint16_t* even, int64_t even_left, const uint16_t* odd, int64_t odd_left,
                    uint16_t* to) {
  Words first, second;
  interleave(load_part(even, even_left), load_part(odd, odd_left), first, second);
  store_words(to, first);
  store_words(to + 32, second);
}
inline void lay_two(const float* even, int64_t even_left, const float* odd, int64_t odd_left,
                    float* to) {
  for (int64_t i = 0; i < 32; i += 16) {
    store_words(to + i, load_part(even + i, even_left - i));
    store_words(to + 32 + i, load_part(odd + i, odd_left - i));
  }
}

// The same for n ≤ 14 columns, as left rows.
inline void lay_pair(const uint16_t* even, Mask even_lanes, const uint16_t* odd, Mask odd_lanes,
                     int64_t n, uint16_t* to) {
  store_words(to, or16(load_halves(even, even_lanes), shift_left<16>(load_halves(odd, odd_lanes))),
              first_lanes(n));
}
template <class T>
inline void lay_pair(const T* even, Mask even_lanes, const T* odd, Mask odd_lanes, int64_t n,
                     float* to) {
  store16(to, load16(even, even_lanes), first_lanes(n));
  store16(to + n, load16(odd, odd_lanes), first_lanes(n));
}

}  // namespace

template <Level L, class T>
void pack_columns(const T* matrix, int64_t stride, int64_t depth, int64_t columns, int64_t first,
                  int64_t last, T* panels) {
  for (int64_t k = 0; k < padded_in(depth); k += 2) {
    const T* row = matrix + k * stride;
    for (int64_t panel = first; panel < last; ++panel) {
      fetch(row + ahead * stride + panel * panel_columns);
      fetch(row + (ahead + 1) * stride + panel * panel_columns);
      const int64_t column = panel * panel_columns, left = columns - column;
      lay_two(row + column, k < depth ? left : 0, row + stride + column, k + 1 < depth ? left : 0,
              panels + (panel - first) * panel_size(depth) + k * panel_columns);
    }
  }
}

template <Level L, class T>
void pair_columns(const T* matrix, int64_t stride, int64_t depth, int64_t columns,
                  Gathered<L, T>* paired) {
  const int64_t padded = padded_in(depth);
  for (int64_t chunk = 0; chunk < padded; chunk += k_chunk) {
    each_block(columns, [&](int64_t column, int64_t n) {
      Gathered<L, T>* to = paired + column * padded + chunk * n;
      for (int64_t k = chunk; k < chunk + k_chunk; k += 2, to += 2 * n) {
        const T* row = matrix + k * stride + column;
        fetch(row + k_chunk * stride);
        fetch(row + (k_chunk + 1) * stride);
        lay_pair(row, first_lanes(k < depth ? n : 0), row + stride,
                 first_lanes(k + 1 < depth ? n : 0), n, to);
      }
    });
  }
}

template <Level L, class T>
void multiply_gathered(const GradientProduct<L, T>& p, bool add) {
  const int64_t depth = padded_in(p.depth);
  const auto to = [&]<bool adds>(auto* y) {
    for (int64_t panel = p.first; panel < p.last; ++panel, y += panel_columns)
      panel_product<Left::gathered, adds>(
          p.left, p.rows, p.panels + panel * panel_size(p.depth), depth, y, p.stride,
          std::min(panel_columns, p.columns - panel * panel_columns));
  };
  if (add) return to.template operator()<true>(static_cast<float*>(p.y));
  if constexpr (std::is_same_v<T, uint16_t>)
    to.template operator()<false>(static_cast<uint16_t*>(p.y));
}

template <Level L, class T>
void add_paired(const GradientProduct<L, T>& p) {
  const int64_t depth = padded_in(p.depth);
  // A block of left rows stays in L1 while it is multiplied with all panels.
  each_block(p.rows, [&](int64_t row, int64_t n) {
    float* y = static_cast<float*>(p.y) + row * p.stride;
    for (int64_t panel = p.first; panel < p.last; ++panel, y += panel_columns)
      Tiles<Left::paired, true, T, float>::by_rows[n](
          p.left + row * depth, p.panels + panel * panel_size(p.depth), depth / k_chunk, y,
          p.stride, std::min(panel_columns, p.columns - panel * panel_columns));
  });
}

template void pack_columns<CREAM_LEVEL>(const uint16_t*, int64_t, int64_t, int64_t, int64_t,
                                        int64_t, uint16_t*);
template void pack_columns<CREAM_LEVEL>(const float*, int64_t, int64_t, int64_t, int64_t, int64_t,
                                        float*);
template void pair_columns<CREAM_LEVEL>(const uint16_t*, int64_t, int64_t, int64_t,
                                        Gathered<CREAM_LEVEL, uint16_t>*);
template void pair_columns<CREAM_LEVEL>(const float*, int64_t, int64_t, int64_t, float*);
template void multiply_gathered(const GradientProduct<CREAM_LEVEL, uint16_t>&, bool);
template void multiply_gathered(const GradientProduct<CREAM_LEVEL, float>&, bool);
template void add_paired(const GradientProduct<CREAM_LEVEL, uint16_t>&);
template void add_paired(const GradientProduct<CREAM_LEVEL, float>&);

}  // namespace cream::ops::packed
