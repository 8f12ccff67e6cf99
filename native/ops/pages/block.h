// One new row a block into its page, N values a load; and whole pages from one place to another, a layer of one page a block.
#pragma once

#include "support/block.h"

namespace cream::ops {

// Pages are [page][2][kv_heads][page_size][d].
template <class T, int N>
struct WritePagesBlock {
  const T *k, *v;  // [rows, kv_heads, d], rows `k_stride` and `v_stride` values apart
  T* cache;
  const int32_t *pages, *slots;  // [rows]; a page of −1: the row is written nowhere
  int64_t kv_heads, d, k_stride, v_stride, page_size;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), vectors = d / N, plane = kv_heads * page_size * d;
    if (pages[row] < 0) return;
    T* keys = cache + pages[row] * 2 * plane + slots[row] * d;
    T* values = keys + plane;
    block.each(kv_heads * vectors, [&](int64_t i) {
      const int64_t head = i / vectors, j = i % vectors * N, to = head * page_size * d + j;
      store_vec<N>(keys + to, load_vec<N>(k + row * k_stride + head * d + j));
      store_vec<N>(values + to, load_vec<N>(v + row * v_stride + head * d + j));
    });
  }
};

struct CopyPagesBlock {
  Vec<uint32_t, 4>* cache;  // [layers, pages, vectors]
  const int32_t *from, *to;  // [copies]
  int64_t copies, pages, vectors;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t layer = block.index() / copies, copy = block.index() % copies;
    const Vec<uint32_t, 4>* source = cache + (layer * pages + from[copy]) * vectors;
    Vec<uint32_t, 4>* target = cache + (layer * pages + to[copy]) * vectors;
    block.each(vectors, [&](int64_t i) { target[i] = source[i]; });
  }
};

}  // namespace cream::ops
