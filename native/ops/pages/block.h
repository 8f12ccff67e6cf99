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
// requested, into y after the queries; values are copied into their page. N: values per load.
template <class T, int N = 1>
struct RopePagesBlock {
  const T* qkv;            // [rows, heads + 2·kv_heads, d]
  const float *cos, *sin;  // [rows, rotary_dim]
  T* y;                    // [rows, kept_heads, d]
  T* cache;
  const int32_t *pages, *slots;  // as in WritePagesBlock
  int64_t heads, kv_heads, d, rotary_dim, page_size, kept_heads;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index(), plane = kv_heads * page_size * d, all = heads + kv_heads;
    const int half = static_cast<int>(rotary_dim / 2), steps = half / N,
              kept = static_cast<int>(d - rotary_dim), vectors = static_cast<int>(d) / N;
    const T* const from = qkv + row * (all + kv_heads) * d;
    const float *const c = cos + row * rotary_dim, *const s = sin + row * rotary_dim;
    T* const to = y + row * kept_heads * d;
    const bool written = pages[row] >= 0;
    T* const keys = cache + (written ? pages[row] * 2 * plane + slots[row] * d : 0);
    const auto put = [&](int head, int i, const auto& values) {
      if (head < kept_heads) store_vec(to + head * d + i, values);
      if (head >= heads && written) store_vec(keys + (head - heads) * page_size * d + i, values);
    };
    block.each(all * steps, [&](int64_t i) {
      const int head = static_cast<int>(i) / steps, j = static_cast<int>(i) % steps * N;
      const Pairs<T, N> pairs(from + head * d + j, c + j, s + j, half, /*backward=*/false);
      put(head, j, pairs.low), put(head, j + half, pairs.high);
    });
    block.each(all * kept, [&](int64_t i) {
      const int head = static_cast<int>(i) / kept,
                at = static_cast<int>(rotary_dim) + static_cast<int>(i) % kept;
      put(head, at, load_vec<1>(from + head * d + at));
    });
    if (!written) return;
    block.each(kv_heads * vectors, [&](int64_t i) {
      const int head = static_cast<int>(i) / vectors, at = static_cast<int>(i) % vectors * N;
      store_vec(keys + plane + head * page_size * d + at,
                load_vec<N>(from + (all + head) * d + at));
    });
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
