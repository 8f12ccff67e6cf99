// Writes keys and values to the pages of a KV cache (model/paged_cache.h) and copies pages. Device
// only, in the order of its stream.
#pragma once

#include "ops/rope/op.h"
#include "support/torch.h"

namespace cream::ops {

// Row r of k and v [rows, kv_heads, d], already rotated, goes to slot slots[r] of page pages[r];
// page −1: not written. pages and slots [rows] int32, cache [pages, 2, kv_heads, page_size, d].
void write_pages(const Tensor& k, const Tensor& v, const Tensor& cache, const Tensor& pages,
                 const Tensor& slots);

// rope_heads() of a joined projection and write_pages() of its keys and values in one launch. bf16
// or fp32; cos, sin [rows, rotary_dim] fp32. If `keys` is false, k and v are returned undefined.
struct PagePlaces {
  const Tensor &cache, &pages, &slots;  // as in write_pages
};
AttentionHeads rope_into_pages(const JoinedHeads& joined, const PagePlaces& places, bool keys);

// Copies page from[i] to page to[i] in every layer; the two lists are disjoint. cache [layers,
// pages, 2, kv_heads, page_size, d], from and to [copies] int32.
void copy_pages(const Tensor& cache, const Tensor& from, const Tensor& to);

}  // namespace cream::ops
