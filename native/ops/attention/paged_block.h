// Decode attention over a paged cache, split-K: blocks take ranges of pages and leave (max, sum, Σ exp·v), a second kernel joins them.
//
//   shared part   entry × kv head × split: the full pages of a prompt, read once for all rows of its group and all query heads
//   own part      row × kv head × split: the pages behind them
//
// The grid is sized by host-side bounds alone (rows, max_length), what an idle block does is to find that out: a CUDA graph can hold the launch.
// Traffic is meant to be the keys and values, once (a group of more than 32 queries reads its range again, from L2), and heads·d
// fp32 a split and row, which stay in L2. At head_dim 128 in bf16 a block has 2 × 17 KB of tiles and at 4 queries 3 KB more: five blocks
// a multiprocessor on an H100 (227 KB), each with up to 32 KB of loads on their way, where some 15 KB cover the memory's latency.
#pragma once

#include "ops/attention/page.h"
#include "ops/attention/tile_block.h"

namespace cream::ops {

// How a decode step is cut; the same for all of its layers but sliding ones. Groups are taken by `entries` in turn.
struct PagedCut {
  int32_t entries, shared_splits, shared_pages;  // pages of one split
  int32_t own_splits, own_pages;

  CREAM_HOST_DEVICE int32_t slots() const { return shared_splits + own_splits; }
};

// The rows' state and what of it a block must know.
struct PagedState {
  const int32_t *page_table, *lengths, *groups;  // [rows, max_pages], [rows], [rows, 3]
  int32_t rows, max_pages, heads, kv_heads, d;
  int32_t window;  // 0: none
  PagedCut cut;

  CREAM_HOST_DEVICE int32_t group() const { return heads / kv_heads; }

  // Pages of this row that its group's blocks read. A group of one has none: its row's own blocks do it all.
  template <class Block>
  CREAM_HOST_DEVICE int32_t shared_pages(Block& block, int32_t row) const {
    return block.reduce(rows, 0, [&](int64_t i) {
      const int32_t first = groups[3 * i], count = groups[3 * i + 1];
      return count > 1 && row >= first && row < first + count ? groups[3 * i + 2] : 0;
    }, Max{});
  }
};

// D: the head's size where it is known at compile time, else 0.
template <class T, int D>
struct PagedDecodeBlock {
  static constexpr int most_threads = tiles::threads;
  const T* q;      // [rows, heads, d], rows `stride` values apart
  const T* cache;  // [pages, 2, kv_heads, page_size, d]
  PagedState state;
  int64_t stride;
  float scale, softcap;  // softcap 0: none
  float* running;        // out: [rows, heads, slots, 2], max and sum
  float* sums;           // out: [rows, heads, slots, d]

  // Queries first … of the rows from `row` on, the heads of one kv head a row; `live`: the row whose page table is looked at.
  struct View {
    const PagedDecodeBlock& p;
    int32_t row, live, kv, first, slot;

    CREAM_HOST_DEVICE int d() const { return D > 0 ? D : p.state.d; }
    CREAM_HOST_DEVICE int32_t row_of(int i) const { return row + (first + i) / p.state.group(); }
    CREAM_HOST_DEVICE int32_t head_of(int i) const { return kv * p.state.group() + (first + i) % p.state.group(); }
    CREAM_HOST_DEVICE const T* query(int i) const { return p.q + row_of(i) * p.stride + head_of(i) * d(); }
    CREAM_HOST_DEVICE tiles::Pair<T> rows(int position) const {
      constexpr int page = page_size;
      const int64_t at = p.state.page_table[static_cast<int64_t>(live) * p.state.max_pages + position / page];
      const int64_t plane = static_cast<int64_t>(p.state.kv_heads) * page * d();
      const T* const key = p.cache + at * 2 * plane + (kv * page + position % page) * d();
      return {key, key + plane};
    }
    CREAM_HOST_DEVICE int32_t begin_of(int i) const { return p.state.window > 0 ? p.state.lengths[row_of(i)] - p.state.window : 0; }
    CREAM_HOST_DEVICE bool sees(int i, int position) const {
      const int32_t length = p.state.lengths[row_of(i)];
      return position < length && (p.state.window == 0 || position >= length - p.state.window);
    }
    CREAM_HOST_DEVICE int64_t place(int i) const {
      return (static_cast<int64_t>(row_of(i)) * p.state.heads + head_of(i)) * p.state.cut.slots() + slot;
    }
    CREAM_HOST_DEVICE void write(int i, int column, const tiles::Chunk& values, const tiles::Running& all) const {
      tiles::store_chunk(p.sums + place(i) * d() + column, values);
      if (column == 0) store_vec(p.running + place(i) * 2, Vec<float, 2>{all.max, all.sum});
    }
  };

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const PagedCut& cut = state.cut;
    const int32_t shared_blocks = cut.entries * state.kv_heads * cut.shared_splits, index = static_cast<int32_t>(block.index());
    if (index >= shared_blocks) return own(block, index - shared_blocks);
    const int32_t split = index % cut.shared_splits, kv = index / cut.shared_splits % state.kv_heads;
    for (int32_t g = index / cut.shared_splits / state.kv_heads; g < state.rows; g += cut.entries) {
      const int32_t row = state.groups[3 * g], count = state.groups[3 * g + 1], pages = state.groups[3 * g + 2];
      const int32_t begin = split * cut.shared_pages, end = tiles::smaller(pages, begin + cut.shared_pages);
      if (count < 2 || begin >= end) continue;
      // A sample that has ended holds no pages: the first that has not.
      const int32_t live = block.reduce(count, state.rows, [&](int64_t i) { return state.lengths[row + i] > 0 ? row + static_cast<int32_t>(i) : state.rows; }, Min{});
      if (live < state.rows) part(block, {*this, row, live, kv, 0, split}, count, begin * page_size, end * page_size);
    }
  }

 private:
  template <class Block>
  CREAM_HOST_DEVICE void own(Block& block, int32_t index) const {
    const PagedCut& cut = state.cut;
    const int32_t split = index % cut.own_splits, kv = index / cut.own_splits % state.kv_heads, row = index / cut.own_splits / state.kv_heads;
    const int32_t length = state.lengths[row];
    if (length <= split * cut.own_pages * static_cast<int32_t>(page_size)) return;
    const int32_t begin = (state.shared_pages(block, row) + split * cut.own_pages) * page_size;
    const int32_t end = tiles::smaller(length, begin + cut.own_pages * page_size);
    if (begin < end) part(block, {*this, row, row, kv, 0, cut.shared_splits + split}, 1, begin, end);
  }

  // Positions begin … end−1 for all queries of `count` rows.
  template <class Block>
  CREAM_HOST_DEVICE void part(Block& block, View view, int32_t count, int32_t begin, int32_t end) const {
    const int32_t queries = count * state.group(), most = tiles::most_held(view.d());
    for (view.first = 0; view.first < queries; view.first += most) {
      const int n = tiles::smaller(most, queries - view.first);
      int32_t first = begin;
      if (state.window > 0) {  // whole pages that no query sees are not read
        const int32_t seen = block.reduce(n, end, [&](int64_t i) { return view.begin_of(static_cast<int>(i)); }, Min{});
        if (seen > begin) first = begin + (seen - begin) / static_cast<int32_t>(page_size) * static_cast<int32_t>(page_size);
      }
      tiles::attend<T>(block, view, n, view.d(), first, end, scale, softcap);
    }
  }
};

// One row and query head a block: the splits joined in rising order.
template <class T>
struct PagedJoinBlock {
  const float *running, *sums;  // of PagedDecodeBlock
  PagedState state;
  T* out;  // [rows, heads, d]

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const PagedCut& cut = state.cut;
    const int32_t row = static_cast<int32_t>(block.index()) / state.heads, length = state.lengths[row], slots = cut.slots();
    T* const to = out + block.index() * state.d;
    if (length == 0) return block.each(state.d, [&](int64_t j) { to[j] = narrow<T>(0.0f); });
    const int32_t pages = state.shared_pages(block, row), own = length - pages * static_cast<int32_t>(page_size);
    const int32_t shared_end = tiles::pieces(pages, cut.shared_pages);
    const int32_t own_end = cut.shared_splits + tiles::pieces(tiles::larger(own, 0), cut.own_pages * static_cast<int32_t>(page_size));
    const float* const r = running + block.index() * slots * 2;
    const float* const parts = sums + block.index() * slots * state.d;
    const auto over = [&](auto&& f) {  // the slots that were written
      for (int32_t s = 0; s < shared_end; ++s) f(s);
      for (int32_t s = cut.shared_splits; s < own_end; ++s) f(s);
    };
    block.each(state.d, [&](int64_t j) {
      float max = -INFINITY, total = 0, sum = 0;
      over([&](int32_t s) { max = fmaxf(max, r[2 * s]); });
      over([&](int32_t s) {
        if (r[2 * s + 1] == 0) return;  // all of it before the window
        const float weight = expf(r[2 * s] - max);
        total += weight * r[2 * s + 1];
        sum += weight * parts[s * state.d + j];
      });
      to[j] = narrow<T>(sum / total);
    });
  }
};

}  // namespace cream::ops
