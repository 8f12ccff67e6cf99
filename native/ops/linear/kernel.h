// The packed bf16 product behind linear, linear_f32 and linear_logprob; raw pointers only, bf16 as uint16_t.
//
// The weight [out, in] is cut into panels of 32 columns of Wᵀ; a panel is [in/2][32 columns][2], zero-padded to whole panels
// and to a multiple of 32 in K, so that one 64-byte load feeds 16 columns of VDPBF16PS.
// Rows are first gathered into blocks [in/32][rows of the block][32], which makes every broadcast a constant offset.
#pragma once

#include <cstdint>

namespace cream::ops::packed {

inline constexpr int64_t panel_columns = 32;
inline constexpr int64_t k_chunk = 32;
inline constexpr int64_t block_rows = 14;  // 14 × 32 fp32 accumulators are 28 of the 32 registers

inline int64_t padded_in(int64_t in) { return (in + k_chunk - 1) / k_chunk * k_chunk; }
inline int64_t panels(int64_t out) { return (out + panel_columns - 1) / panel_columns; }
inline int64_t panel_size(int64_t in) { return padded_in(in) * panel_columns; }  // in bf16 values

// Panels first … last of weight [out, in] (contiguous) into `packed`, the start of the whole packed matrix.
void pack_avx512(const uint16_t* weight, int64_t out, int64_t in, int64_t first, int64_t last, uint16_t* packed);

// `rows` rows of x, `stride` apart, into gathered[rows × padded_in(in)].
void gather_avx512(const uint16_t* x, int64_t stride, int64_t rows, int64_t in, uint16_t* gathered);

// y[row, column − 32·first] for the columns of panels first … last. y: bf16 or fp32, `stride` values apart.
struct Product {
  const uint16_t* gathered;
  int64_t rows, in;
  const uint16_t* weight;  // packed
  int64_t out;
  int64_t first, last;
  void* y;
  int64_t stride;
  bool f32;
};
void multiply_avx512(const Product& product);

// For gradients. Columns 32·first … 32·last of matrix [depth, columns], rows `stride` apart, as panels, the first at `panels`: what
// pack_avx512 makes of the matrix turned.
void pack_columns_avx512(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns, int64_t first, int64_t last, uint16_t* panels);

// All columns of matrix [depth, columns] as left rows: blocks of up to 14 of them, a block [padded depth / 2][columns of the block][2].
void pair_columns_avx512(const uint16_t* matrix, int64_t stride, int64_t depth, int64_t columns, uint16_t* paired);

// y[rows, columns ≤ 32] of one panel: written in bf16, or added to y's fp32.
struct PanelProduct {
  const uint16_t* left;  // gathered
  int64_t rows, depth;
  const uint16_t* panel;
  void* y;
  int64_t stride, columns;
  bool f32;
};
void multiply_panel_avx512(const PanelProduct& product);
// y[rows, 32·first … 32·last] += left · panels, fp32, the left rows made by pair_columns_avx512.
struct PairedProduct {
  const uint16_t* left;
  int64_t rows, depth;
  const uint16_t* panels;  // from panel 0 on
  int64_t first, last;
  float* y;  // [rows, columns], contiguous
  int64_t columns;
};
void add_paired_avx512(const PairedProduct& product);

}  // namespace cream::ops::packed
