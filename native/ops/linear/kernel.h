// Kernels of the packed products behind linear, linear_f32 and linear_logprob and their gradients;
// raw pointers only, bf16 as uint16_t.
//
// The weight [out, in] is cut into panels of 32 columns of Wᵀ, in the same layout at every level:
// bf16 [in/2][32 columns][2], fp32 [in][32 columns], zero-padded to whole panels and to a multiple
// of 32 in K. So 64 bytes feed 16 columns of one VDPBF16PS, of two multiply-adds after widening, or
// of one for an fp32 weight. Left rows are first gathered into blocks [in/32][rows of the
// block][32], which makes every broadcast a constant offset.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/level.h"

namespace cream::ops::packed {

inline constexpr int64_t panel_columns = 32;
inline constexpr int64_t k_chunk = 32;
// Rows of a register tile: 14 × 32 fp32 sums are 28 of AVX-512's 32 registers, 6 × 16 are 12 of
// AVX2's 16; with AMX two tiles of 16 rows (product_amx.cpp), and left rows have another layout.
template <Level L>
inline constexpr int64_t block_rows = L == Level::avx2  ? 6
                                      : L == Level::amx ? 32
                                                        : 14;
template <Level L>
inline constexpr int64_t whole_blocks = L == Level::amx ? 96 : 84;  // rows: a multiple of the above
// Rows that a buffer of left rows holds: the tiles of AMX are whole.
template <Level L>
int64_t left_rows(int64_t rows) {
  return L == Level::amx ? (rows + 15) / 16 * 16 : rows;
}

inline int64_t padded_in(int64_t in) { return (in + k_chunk - 1) / k_chunk * k_chunk; }
inline int64_t panels(int64_t out) { return (out + panel_columns - 1) / panel_columns; }
inline int64_t panel_size(int64_t in) { return padded_in(in) * panel_columns; }  // in values

// Element type of gathered left rows: bf16 for VDPBF16PS, otherwise widened once rather than at
// every use.
template <Level L, class T>
using Gathered = std::conditional_t<(L >= Level::avx512_bf16), T, float>;

// Packs panels first … last−1 of weight [out, in] (contiguous) into `packed`, the start of the
// whole packed matrix.
template <Level L, class T>
void pack(const T* weight, int64_t out, int64_t in, int64_t first, int64_t last, T* packed);

// Gathers `rows` rows of x, `stride` apart, into gathered[left_rows × padded_in(in)].
template <Level L, class T>
void gather(const T* x, int64_t stride, int64_t rows, int64_t in, Gathered<L, T>* gathered);

// y[row, column − 32·first] for the columns of panels first … last−1. y: bf16 or fp32, `stride`
// values apart.
template <Level L, class T>
struct Product {
  const Gathered<L, T>* gathered;
  int64_t rows, in;
  const T* weight;  // packed
  int64_t out;
  int64_t first, last;
  void* y;
  int64_t stride;
  bool f32;
  bool past_caches = false;  // with AMX, fp32, y and stride multiples of 64 bytes: y is so large
                             // that it is written to memory without being read first
};
template <Level L, class T>
void multiply(const Product<L, T>& product);

// For gradients: packs columns 32·first … 32·last−1 of matrix [depth, columns], rows `stride`
// apart, as panels, the first at `panels`. The result equals `pack` of the transposed matrix.
template <Level L, class T>
void pack_columns(const T* matrix, int64_t stride, int64_t depth, int64_t columns, int64_t first,
                  int64_t last, T* panels);

// Gathers all columns of matrix [depth, columns] as left rows, in blocks of at most block_rows: for
// bf16, pairs along the depth [padded depth / 2][columns of the block][2]; otherwise [padded
// depth][columns of the block].
template <Level L, class T>
void pair_columns(const T* matrix, int64_t stride, int64_t depth, int64_t columns,
                  Gathered<L, T>* paired);

// Columns 32·first … 32·last−1 of left · panels [rows, columns].
template <Level L, class T>
struct GradientProduct {
  const Gathered<L, T>* left;
  int64_t rows, depth;
  const T* panels;  // from panel 0 on
  int64_t first, last;
  void* y;  // its column 32·first; rows `stride` values apart
  int64_t stride, columns;
};
// Left rows from gather; added to an fp32 y, or with T bf16 stored in a bf16 y.
template <Level L, class T>
void multiply_gathered(const GradientProduct<L, T>& product, bool add);
// Left rows from pair_columns; added to an fp32 y.
template <Level L, class T>
void add_paired(const GradientProduct<L, T>& product);

}  // namespace cream::ops::packed
