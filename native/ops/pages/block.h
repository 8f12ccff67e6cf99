// Three kernels: one new row per block into its page, N values per load; the same with RoPE; and
// copies of whole pages, one layer of one page per block.
#pragma once

#include "ops/rope/block.h"
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

// One row of a joined projection. Queries are rotated into y, keys into their page and, if
// requested, into y after the queries; values are copied into their page.
template <class T>
struct RopePagesBlock {
  const T* qkv;            // [rows, heads + 2·kv_heads, d]
  const float *cos, *sin;  // [rows, rotary_dim]
  T* y;                    // [rows, kept_heads, d]
  T* cache;
  const int32_t *pages, *slots;  // as in WritePagesBlock
  int64_t heads, kv_heads, d, rotary_dim, page_size, kept_heads;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), half = rotary_dim / 2, kept = d - rotary_dim,
                  plane = kv_heads * page_size * d, all = heads + kv_heads;
    const T* const from = qkv + row * (all + kv_heads) * d;
    T* const to = y + row * kept_heads * d;
    const bool written = pages[row] >= 0;
    T* const keys = cache + (written ? pages[row] * 2 * plane + slots[row] * d : 0);
    const auto put = [&](int64_t head, int64_t i, T value) {
      if (head < kept_heads) to[head * d + i] = value;
      if (head >= heads && written) keys[(head - heads) * page_size * d + i] = value;
    };
    block.each(all * half, [&](int64_t i) {
      const int64_t head = i / half, j = i % half;
      const T* const x = from + head * d;
      const Rotated t = rotate(widen(x[j]), widen(x[j + half]), cos + row * rotary_dim + j,
                               sin + row * rotary_dim + j, half, /*backward=*/false);
      put(head, j, narrow<T>(t.low));
      put(head, j + half, narrow<T>(t.high));
    });
    block.each(all * kept, [&](int64_t i) {
      put(i / kept, rotary_dim + i % kept, from[i / kept * d + rotary_dim + i % kept]);
    });
    if (!written) return;
    block.each(kv_heads * d,
               [&](int64_t i) { keys[plane + i / d * page_size * d + i % d] = from[all * d + i]; });
  }
};

struct CopyPagesBlock {
  Vec<uint32_t, 4>* cache;   // [layers, pages, vectors]
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
