// Decode attention over a paged KV cache; on a GPU the whole step, with its page tables, stays in
// device memory. One layer's cache is [pages, 2, kv_heads, page_size, d], keys at 0 and values at
// 1. The full pages of a prompt are shared by its completions.
#pragma once

#include "ops/attention/op.h"
#include "ops/attention/page.h"

namespace cream {

// The sequences of one decode step. The device addresses stay the same from step to step, so a CUDA
// graph can hold them.
struct PagedRows {
  Tensor page_table;  // [rows, max_pages] int32: pages of the row's whole sequence, the shared ones
                      // first
  Tensor lengths;     // [rows] int32: positions the row sees, its own included; 0: an idle row, its
                      // result is 0
  Tensor groups;      // [rows, 4] int32. Columns 0 … 2 list groups: first row, number of rows (0:
                      // no group), shared FULL pages. A group is adjacent rows of one prompt; its
                      // shared pages are read once. A row is in at most one group. Column 3
                      // belongs to row i: the shared pages of its group of several rows, else 0
  int64_t max_length = 0;  // host-side bound of `lengths`, sizes the grid
  Tensor plan{};           // of paged_plan(), for all layers of a step with these heads, window and
                           // softcap; undefined: a call makes its own
};

namespace ops {

// q [rows, heads, d], cache of one layer → [rows, heads·d] in q's dtype, which is the cache's.
Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind = {});

// How a GPU divides the work of paged_decode_attention() with these arguments; int32. Undefined
// where it needs no plan.
Tensor paged_plan(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                  const AttentionKind& kind = {});

namespace reference {
Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind = {});
}

}  // namespace ops
}  // namespace cream
