// The register tile of all products in this folder: block_rows rows × 32 columns of fp32 sums, each
// one chain of multiply-adds in rising depth. Uses VDPBF16PS for bf16 left rows (tile_bf16.h),
// otherwise fp32 with bf16 weights widened on load. Included by *_simd.cpp only; unnamed namespace
// for the reason given in ops/simd.h.
#pragma once

#include "ops/linear/kernel.h"
#include "ops/simd.h"

namespace cream::ops::packed {
namespace {

inline constexpr int64_t tile_rows = block_rows<CREAM_LEVEL>;

// Layout of the tile's R left rows: `gathered` [chunks][R][32] from rows; `paired` [depth][R] from
// columns (bf16: in pairs).
enum class Left { gathered, paired };

}  // namespace
}  // namespace cream::ops::packed

#ifdef __AVX512BF16__
#include "ops/linear/tile_bf16.h"
#endif

namespace cream::ops::packed {
namespace {

// Two steps along the depth for C·16 columns of a panel, as fp32.
template <int C>
inline void two_steps(const uint16_t* panel, Floats (&first)[C], Floats (&second)[C]) {
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c) {
    const Words pairs = load_words(panel + 32 * c);
    first[c] = first_of_pair(pairs), second[c] = second_of_pair(pairs);
  }
}
template <int C>
inline void two_steps(const float* panel, Floats (&first)[C], Floats (&second)[C]) {
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c)
    first[c] = load16(panel + 16 * c), second[c] = load16(panel + 32 + 16 * c);
}

// C·16 columns of the tile. The first `columns` are stored, or added to y if Add.
template <int R, int C, Left L, bool Add, class T, class Out>
inline __attribute__((always_inline)) void part(const float* left, const T* panel, int64_t chunks,
                                                Out* y, int64_t stride, int64_t columns) {
  constexpr int row_step = L == Left::gathered ? 32 : 1, step = L == Left::gathered ? 1 : R;
  Floats acc[R][C];
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) acc[r][c] = zero16();
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
#pragma GCC unroll 2
    for (int k = 0; k < k_chunk; k += 2) {
      Floats first[C], second[C];
      two_steps<C>(panel, first, second);
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1024, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(panel) + 1088, _MM_HINT_T0);
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const Floats x = set16(left[r * row_step + k * step]);
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) acc[r][c] = fma16(x, first[c], acc[r][c]);
      }
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const Floats x = set16(left[r * row_step + (k + 1) * step]);
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) acc[r][c] = fma16(x, second[c], acc[r][c]);
      }
      panel += 64;
    }
    left += R * k_chunk;
  }
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      const Mask m = first_lanes(columns - 16 * c);
      Out* const to = y + r * stride + 16 * c;
      if constexpr (Add) acc[r][c] = add16(acc[r][c], load16(to, m));
      store16(to, acc[r][c], m);
    }
}

// 32 columns: in one pass if the registers hold their sums, otherwise in two.
template <int R, Left L, bool Add, class T, class Out>
inline __attribute__((always_inline)) void tile(const float* left, const T* panel, int64_t chunks,
                                                Out* y, int64_t stride, int64_t columns) {
  if constexpr (registers_left == 32 || R <= 2) {
    part<R, 2, L, Add>(left, panel, chunks, y, stride, columns);
  } else {
    part<R, 1, L, Add>(left, panel, chunks, y, stride, columns);
    if (columns > 16)
      part<R, 1, L, Add>(left, panel + 64 / sizeof(T), chunks, y + 16, stride, columns - 16);
  }
}

// Calls f(first row, rows) for blocks of nearly equal height: 40 rows are 14 + 13 + 13, not 14 + 14
// + 12.
template <class F>
void each_block(int64_t rows, F&& f) {
  const int64_t blocks = (rows + tile_rows - 1) / tile_rows;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = rows * b / blocks;
    f(first, rows * (b + 1) / blocks - first);
  }
}

template <Left L, bool Add, class T, class Out>
struct Tiles {
  using Row = Gathered<CREAM_LEVEL, T>;
  using Tile = void (*)(const Row*, const T*, int64_t, Out*, int64_t, int64_t);
  template <int R>
  static void of(const Row* left, const T* panel, int64_t chunks, Out* y, int64_t stride,
                 int64_t columns) {
    if constexpr (R <= tile_rows) tile<R, L, Add>(left, panel, chunks, y, stride, columns);
  }
  static constexpr Tile by_rows[15] = {nullptr, of<1>, of<2>,  of<3>,  of<4>,  of<5>,  of<6>, of<7>,
                                       of<8>,   of<9>, of<10>, of<11>, of<12>, of<13>, of<14>};
};

// One panel against all rows: y[rows, 32].
template <Left L, bool Add, class T, class Out>
void panel_product(const Gathered<CREAM_LEVEL, T>* left, int64_t rows, const T* panel,
                   int64_t depth, Out* y, int64_t stride, int64_t columns) {
  each_block(rows, [&](int64_t row, int64_t n) {
    Tiles<L, Add, T, Out>::by_rows[n](left + row * depth, panel, depth / k_chunk, y + row * stride,
                                      stride, columns);
  });
}

}  // namespace
}  // namespace cream::ops::packed
