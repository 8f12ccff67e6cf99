// The packed products for bf16 on AMX: TDPBF16PS adds the products of 16 rows, 16 columns and 32
// steps of the depth to a tile of fp32 sums. A panel's layout (kernel.h) is already that of the
// right operand, so weights are packed as for VDPBF16PS. Left rows are gathered in tiles of 16
// rows, [rows/16][in/32][16][32], with zeros where rows or steps are missing.
//
// A block of sums is 32 rows × 32 columns, four tiles, so that each loaded tile is used twice. An
// output is one chain over the depth in rising order, computed by the same instruction whatever the
// other rows of its tile, so its bits depend on its own row alone. The order within the
// instruction, which also flushes subnormals: Intel's Instruction Set Extensions Programming
// Reference, TDPBF16PS.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/linear/kernel.h"
#include "ops/simd.h"
#include "ops/tiles_amx.h"

namespace cream::ops::packed {
namespace {

constexpr Level amx = Level::amx;
constexpr int64_t tile_values = tile_rows * k_chunk;
constexpr int64_t panel_chunk = k_chunk * panel_columns;  // values of a panel per tile of the depth
constexpr int64_t line = 64;                              // bytes
constexpr int64_t ahead = 4 * panel_chunk;                // prefetch distance in a panel

// The sums of up to 32 rows and 32 columns.
struct alignas(64) Sums {
  float of[2 * tile_rows][panel_columns];
};

// What is fetched while a panel is multiplied: the next panel into L2, an equal part in each step
// of each block of rows; or, without one, its own values, some steps ahead, into L1.
struct Prefetch {
  const char* next = nullptr;
  int64_t lines = 0;  // a step

  Prefetch() = default;
  Prefetch(const uint16_t* panel, int64_t blocks)
      : next(reinterpret_cast<const char*>(panel)),
        lines((2 * panel_chunk / line - 1) / blocks + 1) {}
  void step(const uint16_t* panel) {
    if (next == nullptr) {
      for (int64_t i = 0; i < panel_chunk; i += line / 2)
        _mm_prefetch(reinterpret_cast<const char*>(panel + ahead + i), _MM_HINT_T0);
    } else {
      for (int64_t i = 0; i < lines; ++i, next += line) _mm_prefetch(next, _MM_HINT_T1);
    }
  }
};

// Tiles 0–3: sums; 4, 5: left; 6, 7: right. Two: whether there is a second tile of rows, `depth`
// values × 16 rows behind the first one.
template <bool Two>
inline void add_up(const uint16_t* left, const uint16_t* panel, int64_t depth, Prefetch& prefetch,
                   Sums& sums) {
  constexpr int64_t panel_line = 2 * line;
  const uint16_t* const second = left + tile_rows * depth;
  asm volatile("" ::: "memory");  // the tiles read what was stored before
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (Two) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < depth / k_chunk; ++k) {
    _tile_loadd(6, panel, panel_line);
    _tile_loadd(4, left + k * tile_values, line);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 32, panel_line);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Two) {
      _tile_loadd(5, second + k * tile_values, line);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    prefetch.step(panel);
    panel += panel_chunk;
  }
  constexpr int64_t sums_line = sizeof(sums.of[0]);
  _tile_stored(0, sums.of[0], sums_line);
  _tile_stored(1, sums.of[0] + 16, sums_line);
  if constexpr (Two) {
    _tile_stored(2, sums.of[tile_rows], sums_line);
    _tile_stored(3, sums.of[tile_rows] + 16, sums_line);
  }
}

// The first `columns` of `rows` rows of sums → y, stored or added.
template <bool Add, class Out>
inline void write(const Sums& sums, int64_t rows, int64_t columns, Out* y, int64_t stride) {
  const Mask low = first_lanes(columns), high = first_lanes(columns - 16);
  for (int64_t r = 0; r < rows; ++r) {
    Floats a = load16(sums.of[r]), b = load16(sums.of[r] + 16);
    Out* const to = y + r * stride;
    if constexpr (Add) a = add16(a, load16(to, low)), b = add16(b, load16(to + 16, high));
    store16(to, a, low);
    store16(to + 16, b, high);
  }
}

// y[rows, columns] of one panel.
template <bool Add, class Out>
void panel_product(const uint16_t* left, int64_t rows, const uint16_t* panel, int64_t depth, Out* y,
                   int64_t stride, int64_t columns, Prefetch prefetch = {}) {
  Sums sums;
  for (int64_t row = 0; row < rows; row += 2 * tile_rows) {
    const int64_t n = std::min(2 * tile_rows, rows - row);
    Out* const to = y + row * stride;
    if constexpr (Add)
      for (int64_t r = 0; r < n; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(to + r * stride), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(to + r * stride + 16), _MM_HINT_T0);
      }
    if (n > tile_rows)
      add_up<true>(left + row * depth, panel, depth, prefetch, sums);
    else
      add_up<false>(left + row * depth, panel, depth, prefetch, sums);
    write<Add>(sums, n, columns, to, stride);
  }
}

template <class Out>
void multiply_as(const Product<amx, uint16_t>& p) {
  const Tiles tiles;
  const int64_t blocks = (p.rows + 2 * tile_rows - 1) / (2 * tile_rows);
  for (int64_t panel = p.first; panel < p.last; ++panel) {
    const uint16_t* const weight = p.weight + panel * panel_size(p.in);
    const Prefetch next =
        panel + 1 < p.last ? Prefetch(weight + panel_size(p.in), blocks) : Prefetch();
    panel_product<false>(p.gathered, p.rows, weight, padded_in(p.in),
                         static_cast<Out*>(p.y) + (panel - p.first) * panel_columns, p.stride,
                         std::min(panel_columns, p.out - panel * panel_columns), next);
  }
}

}  // namespace

template <>
void pack<amx>(const uint16_t* weight, int64_t out, int64_t in, int64_t first, int64_t last,
               uint16_t* packed) {
  pack<Level::avx512_bf16>(weight, out, in, first, last, packed);
}

template <>
void gather<amx>(const uint16_t* x, int64_t stride, int64_t rows, int64_t in, uint16_t* gathered) {
  const int64_t depth = padded_in(in);
  for (int64_t row = 0; row < left_rows<amx>(rows); ++row) {
    uint16_t* const to = gathered + row / tile_rows * tile_rows * depth + row % tile_rows * k_chunk;
    const int64_t valid = row < rows ? in : 0;
    for (int64_t k = 0; k < depth; k += k_chunk)
      store_words(to + k * tile_rows, load_part(x + row * stride + k, valid - k));
  }
}

template <>
void multiply(const Product<amx, uint16_t>& product) {
  product.f32 ? multiply_as<float>(product) : multiply_as<uint16_t>(product);
}

template <>
void pack_columns<amx>(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns,
                       int64_t first, int64_t last, uint16_t* panels) {
  pack_columns<Level::avx512_bf16>(matrix, stride, depth, columns, first, last, panels);
}

// As gather() of the transposed matrix: pairs along the depth are words, of which 16 × 16 are
// transposed.
template <>
void pair_columns<amx>(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns,
                       uint16_t* paired) {
  const int64_t padded = padded_in(depth);
  for (int64_t k = 0; k < padded; k += k_chunk)
    for (int64_t column = 0; column < columns; column += tile_rows) {
      const uint16_t* const from = matrix + k * stride + column;
      Words lines[16];
      for (int64_t i = 0; i < 16; ++i) {
        const auto row = [&](int64_t step) {
          const Mask lanes = first_lanes(k + step < depth ? columns - column : 0);
          return load_halves(from + step * stride, lanes);
        };
        _mm_prefetch(reinterpret_cast<const char*>(from + (k_chunk + 2 * i) * stride), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(from + (k_chunk + 2 * i + 1) * stride),
                     _MM_HINT_T0);
        lines[i] = or16(row(2 * i), shift_left<16>(row(2 * i + 1)));
      }
      transpose16(lines);
      uint16_t* const to = paired + column * padded + k * tile_rows;
      for (int64_t i = 0; i < 16; ++i) store_words(to + i * k_chunk, lines[i]);
    }
}

template <>
void multiply_panel(const PanelProduct<amx, uint16_t>& p) {
  const Tiles tiles;
  const int64_t depth = padded_in(p.depth);
  if (p.f32)
    panel_product<true>(p.left, p.rows, p.panel, depth, static_cast<float*>(p.y), p.stride,
                        p.columns);
  else
    panel_product<false>(p.left, p.rows, p.panel, depth, static_cast<uint16_t*>(p.y), p.stride,
                         p.columns);
}

template <>
void add_paired(const PairedProduct<amx, uint16_t>& p) {
  const Tiles tiles;
  const int64_t depth = padded_in(p.depth);
  for (int64_t row = 0; row < p.rows; row += 2 * tile_rows)
    for (int64_t panel = p.first; panel < p.last; ++panel)
      panel_product<true>(p.left + row * depth, std::min(2 * tile_rows, p.rows - row),
                          p.panels + panel * panel_size(p.depth), depth,
                          p.y + row * p.columns + panel * panel_columns, p.columns,
                          std::min(panel_columns, p.columns - panel * panel_columns));
}

}  // namespace cream::ops::packed
