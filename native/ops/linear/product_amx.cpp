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

// How sums go to y: stored; stored past the caches; added.
enum class To { cache, memory, sum };

// Writes the sums of a block to y, a few rows per step of the next block: the vector units are idle
// while the tiles multiply.
template <To to, class Out>
class Writer {
 public:
  void begin(const Sums& sums, int64_t rows, int64_t columns, Out* y, int64_t stride) {
    sums_ = &sums, y_ = y, stride_ = stride, row_ = 0, rows_ = rows;
    low_ = first_lanes(columns), high_ = first_lanes(columns - 16);
    whole_ = columns == panel_columns;
  }
  void write(int64_t count) {
    for (const int64_t end = std::min(rows_, row_ + count); row_ < end; ++row_) {
      Floats a = load16(sums_->of[row_]), b = load16(sums_->of[row_] + 16);
      Out* const y = y_ + row_ * stride_;
      if constexpr (to == To::memory) {
        if (whole_) {
          _mm512_stream_ps(y, a);
          _mm512_stream_ps(y + 16, b);
          continue;
        }
      }
      if constexpr (to == To::sum)
        a = add16(a, load16(y, low_)), b = add16(b, load16(y + 16, high_));
      store16(y, a, low_);
      store16(y + 16, b, high_);
    }
  }
  void finish() { write(rows_); }

 private:
  const Sums* sums_ = nullptr;
  Out* y_ = nullptr;
  int64_t stride_ = 0, row_ = 0, rows_ = 0;
  Mask low_{}, high_{};
  bool whole_ = false;
};

// One slab of the depth: `steps` tiles of it. The right operand is used again for the next rows and
// stays in L1, so the left one passes by it (TILELOADDT1). Tiles 0–3: sums; 4, 5: left; 6, 7:
// right. Two: whether there is a second tile of rows, `depth` values × 16 rows behind the first.
template <bool Two, class Writer>
inline void add_up(const uint16_t* left, int64_t depth, const uint16_t* panel, int64_t steps,
                   bool first, Prefetch& prefetch, Writer& before, Sums& sums) {
  constexpr int64_t panel_line = 2 * line, sums_line = sizeof(sums.of[0]);
  const uint16_t* const second = left + tile_rows * depth;
  const int64_t rows_a_step = (2 * tile_rows - 1) / steps + 1;
  asm volatile("" ::: "memory");  // the tiles read what was stored before
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Two) {
      _tile_zero(2);
      _tile_zero(3);
    }
  } else {
    _tile_loadd(0, sums.of[0], sums_line);
    _tile_loadd(1, sums.of[0] + 16, sums_line);
    if constexpr (Two) {
      _tile_loadd(2, sums.of[tile_rows], sums_line);
      _tile_loadd(3, sums.of[tile_rows] + 16, sums_line);
    }
  }
  for (int64_t k = 0; k < steps; ++k) {
    _tile_loadd(6, panel, panel_line);
    _tile_stream_loadd(4, left + k * tile_values, line);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 32, panel_line);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Two) {
      _tile_stream_loadd(5, second + k * tile_values, line);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    before.write(rows_a_step);
    prefetch.step(panel);
    panel += panel_chunk;
  }
  before.finish();
  _tile_stored(0, sums.of[0], sums_line);
  _tile_stored(1, sums.of[0] + 16, sums_line);
  if constexpr (Two) {
    _tile_stored(2, sums.of[tile_rows], sums_line);
    _tile_stored(3, sums.of[tile_rows] + 16, sums_line);
  }
}

// Blocks of rows whose sums are kept between slabs.
constexpr int64_t group_rows = 8 * 2 * tile_rows;

// Values of the depth that are multiplied at once: 32 columns × 768 of them still stay in L1.
// Between slabs the sums are kept as they are, so this changes no bit.
inline int64_t slab_of(int64_t depth) { return depth <= 768 ? depth : 512; }

// y[rows, 32·first … 32·last−1] (the first `columns` columns of the whole product exist), panels
// from panel 0 on; y points to column 32·first.
template <To to, class Out>
void panel_products(const uint16_t* left, int64_t rows, int64_t depth, const uint16_t* panels,
                    int64_t first, int64_t last, Out* y, int64_t stride, int64_t columns) {
  const Tiles tiles;
  const int64_t slab = slab_of(depth), blocks = (rows - 1) / (2 * tile_rows) + 1;
  Sums sums[group_rows / (2 * tile_rows)];
  Writer<to, Out> writer;
  for (int64_t number = first; number < last; ++number, y += panel_columns) {
    const uint16_t* const panel = panels + number * depth * panel_columns;
    Prefetch prefetch =
        number + 1 < last ? Prefetch(panel + depth * panel_columns, blocks) : Prefetch();
    const int64_t n = std::min(panel_columns, columns - number * panel_columns);
    for (int64_t group = 0; group < rows; group += group_rows)
      for (int64_t k = 0; k < depth; k += slab) {
        const int64_t steps = std::min(slab, depth - k) / k_chunk;
        const bool complete = k + slab >= depth;
        for (int64_t row = group; row < std::min(rows, group + group_rows); row += 2 * tile_rows) {
          const int64_t count = std::min(2 * tile_rows, rows - row);
          Out* const part = y + row * stride;
          if (to == To::sum && complete)
            for (int64_t r = 0; r < count; ++r) {
              _mm_prefetch(reinterpret_cast<const char*>(part + r * stride), _MM_HINT_T0);
              _mm_prefetch(reinterpret_cast<const char*>(part + r * stride + 16), _MM_HINT_T0);
            }
          const uint16_t* const from = left + row * depth + k * tile_rows;
          Sums& block = sums[(row - group) / (2 * tile_rows)];
          const auto add = [&]<bool two>() {
            add_up<two>(from, depth, panel + k * panel_columns, steps, k == 0, prefetch, writer,
                        block);
          };
          count > tile_rows ? add.template operator()<true>() : add.template operator()<false>();
          if (complete) writer.begin(block, count, n, part, stride);
        }
      }
  }
  writer.finish();
  if (to == To::memory) _mm_sfence();
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
void multiply(const Product<amx, uint16_t>& p) {
  const auto run = [&]<To to>(auto* y) {
    panel_products<to>(p.gathered, p.rows, padded_in(p.in), p.weight, p.first, p.last, y, p.stride,
                       p.out);
  };
  if (!p.f32)
    run.template operator()<To::cache>(static_cast<uint16_t*>(p.y));
  else if (p.past_caches)
    run.template operator()<To::memory>(static_cast<float*>(p.y));
  else
    run.template operator()<To::cache>(static_cast<float*>(p.y));
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
void multiply_gathered(const GradientProduct<amx, uint16_t>& p, bool add) {
  const int64_t depth = padded_in(p.depth);
  if (add)
    panel_products<To::sum>(p.left, p.rows, depth, p.panels, p.first, p.last,
                            static_cast<float*>(p.y), p.stride, p.columns);
  else
    panel_products<To::cache>(p.left, p.rows, depth, p.panels, p.first, p.last,
                              static_cast<uint16_t*>(p.y), p.stride, p.columns);
}

template <>
void add_paired(const GradientProduct<amx, uint16_t>& p) {
  panel_products<To::sum>(p.left, p.rows, padded_in(p.depth), p.panels, p.first, p.last,
                          static_cast<float*>(p.y), p.stride, p.columns);
}

}  // namespace cream::ops::packed
