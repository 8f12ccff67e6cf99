// Attention on the GPU; conventions as in ops/rms_norm/cuda.h. Head dimensions are multiples of 8,
// at most 256; addresses and row strides allow 16-byte loads.
#pragma once

#include <cstdint>

#include "ops/attention/page.h"

namespace cream::ops {

// Whether bf16 attention runs on the tensor cores for this head dimension: warp_tiles.h.
inline bool takes_warps(int64_t d) { return d <= 128; }

// Decode attention over a paged cache: paged_block.h.
template <class T>
struct PagedCuda {
  const T* q;      // [rows, heads, d], rows `stride` values apart
  const T* cache;  // [pages, 2, kv_heads, page_size, d]
  const int32_t *page_table, *lengths, *groups;
  T* out;               // [rows, heads·d]
  float* scratch;       // paged_scratch() values
  const int32_t* plan;  // of paged_plan_cuda(); null where a step needs none
  int64_t rows, heads, kv_heads, d, stride;
  int64_t max_pages;   // columns of page_table
  int64_t max_length;  // upper bound of lengths
  int64_t window;      // 0: none
  float scale, softcap;
};
int64_t paged_scratch(int64_t rows, int64_t heads, int64_t d, int64_t max_length);
int paged_decode_cuda(const PagedCuda<uint16_t>& call, void* stream);
int paged_decode_cuda(const PagedCuda<float>& call, void* stream);

// The plan of a decode step in bf16, the same for all layers with these heads, window and softcap:
// paged_plan.h.
struct PagedPlanCuda {
  const int32_t *lengths, *groups;
  int64_t rows, heads, kv_heads, d, max_length, window;
  float softcap;
};
int64_t paged_plan_values(const PagedPlanCuda& call);  // 0: d needs no plan
int paged_plan_cuda(const PagedPlanCuda& call, int32_t* plan, void* stream);

// Consecutive rows of one segment, and the prefix that they attend to.
struct QueryTile {
  int32_t row, rows, position;  // row of the batch; position: of that row in its segment
  int32_t prefix_start, prefix_length;
};
// Consecutive rows of one segment as keys, and the segments that attend to them:
// plan.viewers[first_viewer] … .
struct KeyTile {
  int32_t row, rows, position, first_viewer, viewers;
};
// The rows of one segment, which attend to `before` positions before their own.
struct Viewer {
  int32_t start, length, before;
};
struct PackedTiles {
  const QueryTile* queries;
  const KeyTile* keys;
  const Viewer* viewers;
  int64_t query_tiles, key_tiles;
};
// Rows per query tile of a plan.
int64_t packed_query_rows(int64_t group, int64_t d, bool bf16);
int64_t packed_key_rows(int64_t d);

// Attention over a packed batch: packed_block.h. The forward pass writes out and logsumexp, the
// gradient reads them.
template <class T>
struct PackedCuda {
  const T *q, *k,
      *v;  // [tokens, heads, d], [tokens, kv_heads, d] twice; rows `…_stride` values apart
  T* out;  // [tokens, heads, d]
  float* logsumexp;  // of a row and a head at row · logsumexp_row + head · logsumexp_head
  PackedTiles plan;
  int64_t heads, kv_heads, d, q_stride, k_stride, v_stride;
  int64_t window;  // 0: none
  float scale, softcap;
  int64_t logsumexp_row, logsumexp_head;  // the gradient: heads, 1
};
int packed_attention_cuda(const PackedCuda<uint16_t>& call, void* stream);
int packed_attention_cuda(const PackedCuda<float>& call, void* stream);

template <class T>
struct PackedGradientCuda {
  PackedCuda<T> forward;
  const T *out, *d_out;  // [tokens, heads, d]
  float* delta;          // scratch: [tokens, heads]
  T *d_q, *d_k, *d_v;    // contiguous
};
int packed_gradient_cuda(const PackedGradientCuda<uint16_t>& call, void* stream);
int packed_gradient_cuda(const PackedGradientCuda<float>& call, void* stream);

// sum[r] = Σ over n in offsets[r] … offsets[r+1]−1 of x[sources[n]], for two matrices at once.
template <class T>
struct SumRowsCuda {
  const T *a, *b;    // rows of `width` values, a multiple of 8
  T *sum_a, *sum_b;  // [rows, width]
  const int32_t *offsets, *sources;
  int64_t rows, width;
};
int sum_rows_cuda(const SumRowsCuda<uint16_t>& call, void* stream);
int sum_rows_cuda(const SumRowsCuda<float>& call, void* stream);

}  // namespace cream::ops
