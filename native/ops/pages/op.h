// Keys and values into the pages of a cache (model/paged_cache.h), and from page to page. On a
// device only; in its stream's order.
#pragma once

#include "ops/rope/op.h"
#include "support/torch.h"

namespace cream::ops {

// Row r of k and v [rows, kv_heads, d], rotated already, goes to slot slots[r] of page pages[r]; a
// page of −1: nowhere. pages and slots [rows] int32, cache [pages, 2, kv_heads, page_size, d].
void write_pages(const Tensor& k, const Tensor& v, const Tensor& cache, const Tensor& pages,
                 const Tensor& slots);

// rope_heads() of a joined projection, bf16 or fp32, and write_pages() of its rotated keys and its
// values, in one launch. cos, sin [rows, rotary_dim] fp32. Where no keys are wanted k and v come
// back undefined.
struct PagePlaces {
  const Tensor &cache, &pages, &slots;  // as of write_pages
};
AttentionHeads rope_into_pages(const JoinedHeads& joined, const PagePlaces& places, bool keys);

// Page from[i] becomes page to[i] in every layer; no page is in both. cache [layers, pages, 2,
// kv_heads, page_size, d], from and to [copies] int32.
void copy_pages(const Tensor& cache, const Tensor& from, const Tensor& to);

}  // namespace cream::ops
