// y = x · Wᵀ with fp32 accumulators, on a register tile of up to 14 rows × 32 columns (AVX2: 6 ×
// 16). The panel of W (74 KB at K = 1152 in bf16) stays in L2 while all row blocks pass it; x's
// block stays in L1. Each output is one chain over K in rising order (VDPBF16PS: pairs) whatever
// the tile, so a row's bits do not depend on its neighbours. Register blocking after llama.cpp's
// tinyBLAS and BLIS; batch invariance after Thinking Machines, "Defeating Nondeterminism".
#include <algorithm>

#include "ops/linear/tile.h"

namespace cream::ops::packed {
namespace {

template <class T, class Out>
void multiply_as(const Product<CREAM_LEVEL, T>& p) {
  for (int64_t panel = p.first; panel < p.last; ++panel) {
    const int64_t columns = std::min(panel_columns, p.out - panel * panel_columns);
    Out* y = static_cast<Out*>(p.y) + (panel - p.first) * panel_columns;
    panel_product<Left::gathered, false>(p.gathered, p.rows, p.weight + panel * panel_size(p.in),
                                         padded_in(p.in), y, p.stride, columns);
  }
}

// Copies 32 values of a row, of which `left` exist; zeros beyond.
inline void copy_chunk(const uint16_t* from, int64_t left, uint16_t* to) {
  store_words(to, load_part(from, left));
}
template <class T>
inline void copy_chunk(const T* from, int64_t left, float* to) {
  if (left >= k_chunk) {
    store16(to, load16(from));
    store16(to + 16, load16(from + 16));
  } else {
    store16(to, load16(from, first_lanes(left)));
    store16(to + 16, load16(from + 16, first_lanes(left - 16)));
  }
}

}  // namespace

template <Level L, class T>
void pack(const T* weight, int64_t out, int64_t in, int64_t first, int64_t last, T* packed) {
  constexpr int64_t word = 4 / sizeof(T);  // steps of the depth in 32 bits
  const int64_t depth = padded_in(in);
  for (int64_t panel = first; panel < last; ++panel) {
    T* to = packed + panel * panel_size(in);
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t row = panel * panel_columns + half * 16,
                    valid = std::min<int64_t>(16, out - row);
      for (int64_t k = 0; k < depth; k += 16 * word) {
        Words lines[16];
        for (int64_t i = 0; i < 16; ++i)
          lines[i] = i < valid ? load_part(weight + (row + i) * in + k, in - k) : set_words(0);
        transpose16(lines);
        for (int64_t j = 0; j < 16; ++j)
          store_words(to + ((k / word + j) * panel_columns + half * 16) * word, lines[j]);
      }
    }
  }
}

template <Level L, class T>
void gather(const T* x, int64_t stride, int64_t rows, int64_t in, Gathered<L, T>* gathered) {
  const int64_t depth = padded_in(in);
  each_block(rows, [&](int64_t row, int64_t n) {
    for (int64_t r = 0; r < n; ++r) {
      const T* from = x + (row + r) * stride;
      Gathered<L, T>* to = gathered + row * depth + r * k_chunk;
      for (int64_t k = 0; k < in; k += k_chunk, to += n * k_chunk) copy_chunk(from + k, in - k, to);
    }
  });
}

template <Level L, class T>
void multiply(const Product<L, T>& product) {
  product.f32 ? multiply_as<T, float>(product) : multiply_as<T, uint16_t>(product);
}

template void pack<CREAM_LEVEL>(const uint16_t*, int64_t, int64_t, int64_t, int64_t, uint16_t*);
template void pack<CREAM_LEVEL>(const float*, int64_t, int64_t, int64_t, int64_t, float*);
template void gather<CREAM_LEVEL>(const uint16_t*, int64_t, int64_t, int64_t,
                                  Gathered<CREAM_LEVEL, uint16_t>*);
template void gather<CREAM_LEVEL>(const float*, int64_t, int64_t, int64_t, float*);
template void multiply(const Product<CREAM_LEVEL, uint16_t>&);
template void multiply(const Product<CREAM_LEVEL, float>&);

}  // namespace cream::ops::packed
