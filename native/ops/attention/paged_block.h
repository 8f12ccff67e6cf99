// Decode attention over a paged cache, split-K: blocks process ranges of pages and write (max, sum,
// Σ exp·v); a second kernel joins them. Here the ranges, and the kernels without tensor cores, for
// fp32 and for wide heads; those of bf16 are in paged_warp_block.h.
//
//   shared part   group entry × kv head × split: splits within a prompt's full pages, read once for
//                 all rows and query heads of the group
//   own part      row × kv head × split: the others
//
// A row's bits depend on that row alone: splits lie at the same positions in every sequence, a
// block's arithmetic does not depend on how many rows it holds, and the join follows rising
// positions. So the other sequences of the batch do not affect a result.
//
// Only host-side bounds (rows, max_length) size the grid, and idle blocks return early, so a CUDA
// graph can hold the launch. Memory traffic is the keys and values, read once (a group of more than
// 32 queries reads its range again, from L2), plus heads·d fp32 per split and row, which stay in
// L2.
#pragma once

#include "ops/attention/page.h"
#include "ops/attention/tile_block.h"

namespace cream::ops {

// Eight splits of 8 pages, eight of 16, eight of 32, …: many blocks for short sequences, few
// partial results for long ones.
struct PagedSplit {
  int32_t begin, end;  // pages

  CREAM_HOST_DEVICE explicit PagedSplit(int32_t index) {
    const int32_t octave = index / 8, pages = 8 << octave;
    begin = 64 * ((1 << octave) - 1) + index % 8 * pages;
    end = begin + pages;
  }
};
// The number of splits that the first `positions` positions reach into.
CREAM_HOST_DEVICE inline int32_t paged_splits(int32_t positions) {
  int32_t count = 0;
  while (PagedSplit(count).begin * static_cast<int32_t>(page_size) < positions) ++count;
  return count;
}

// The end of the part that a position lies in, in positions.
CREAM_HOST_DEVICE inline int32_t paged_part_end(int32_t position) {
  int32_t index = 0;
  while (PagedSplit(index).end * static_cast<int32_t>(page_size) <= position) ++index;
  return PagedSplit(index).end * static_cast<int32_t>(page_size);
}

// The rows' state, and what a block derives from it.
struct PagedState {
  const int32_t *page_table, *lengths, *groups;  // [rows, max_pages], [rows], [rows, 4]
  int32_t rows, max_pages, heads, kv_heads, d;
  int32_t window;           // 0: none
  int32_t entries, splits;  // the grid's: groups are taken by `entries` in turn

  CREAM_HOST_DEVICE int32_t group() const { return heads / kv_heads; }
  // The first split that is visible to a row of this length.
  CREAM_HOST_DEVICE int32_t first_split(int32_t length) const {
    return window > 0 && length > window ? paged_splits(length - window + 1) - 1 : 0;
  }

  // Pages of this row that its group's blocks read. None for a group of one row: the row's own
  // blocks read everything.
  CREAM_HOST_DEVICE int32_t shared_pages(int32_t row) const { return groups[4 * row + 3]; }
};

// D: head_dim if known at compile time, else 0.
template <class T, int D>
struct PagedDecodeBlock {
  static constexpr int most_threads = tiles::threads;
  const T* q;      // [rows, heads, d], rows `stride` values apart
  const T* cache;  // [pages, 2, kv_heads, page_size, d]
  PagedState state;
  int64_t stride;
  float scale, softcap;  // softcap 0: none
  float* running;        // out: [rows, heads, splits, 2], max and sum
  float* sums;           // out: [rows, heads, splits, d]

  // Queries from `first` on of the rows from `row` on, with the heads of one kv head per row;
  // `live`: the row whose page table is used.
  struct View {
    const PagedDecodeBlock& p;
    int32_t row, live, kv, first, split;

    CREAM_HOST_DEVICE int d() const { return D > 0 ? D : p.state.d; }
    CREAM_HOST_DEVICE int slices(int) const {
      return tiles::most_slices<T>(tiles::most_held(d()), d());
    }  // of a full block, in any block
    CREAM_HOST_DEVICE int32_t row_of(int i) const { return row + (first + i) / p.state.group(); }
    CREAM_HOST_DEVICE int32_t head_of(int i) const {
      return kv * p.state.group() + (first + i) % p.state.group();
    }
    CREAM_HOST_DEVICE const T* query(int i) const {
      return p.q + row_of(i) * p.stride + head_of(i) * d();
    }
    CREAM_HOST_DEVICE tiles::Pair<T> rows(int position) const {
      constexpr int page = page_size;
      const int64_t at =
          p.state.page_table[static_cast<int64_t>(live) * p.state.max_pages + position / page];
      const int64_t plane = static_cast<int64_t>(p.state.kv_heads) * page * d();
      const T* const key = p.cache + at * 2 * plane + (kv * page + position % page) * d();
      return {key, key + plane};
    }
    CREAM_HOST_DEVICE int32_t begin_of(int i) const {
      return p.state.window > 0 ? p.state.lengths[row_of(i)] - p.state.window : 0;
    }
    CREAM_HOST_DEVICE bool sees(int i, int position) const {
      const int32_t length = p.state.lengths[row_of(i)];
      return position < length && (p.state.window == 0 || position >= length - p.state.window);
    }
    CREAM_HOST_DEVICE int64_t place(int i) const {
      return (static_cast<int64_t>(row_of(i)) * p.state.heads + head_of(i)) * p.state.splits +
             split;
    }
    CREAM_HOST_DEVICE void write(int i, int column, const tiles::Chunk& values,
                                 const tiles::Running& all) const {
      tiles::store_chunk(p.sums + place(i) * d() + column, values);
      if (column == 0) store_vec(p.running + place(i) * 2, Vec<float, 2>{all.max, all.sum});
    }
  };

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int32_t index = static_cast<int32_t>(block.index()), split = index % state.splits,
                  kv = index / state.splits % state.kv_heads;
    const int32_t unit = index / state.splits / state.kv_heads;
    if (unit >= state.entries) return own(block, unit - state.entries, kv, split);
    const PagedSplit pages(split);
    for (int32_t g = unit; g < state.rows; g += state.entries) {
      const int32_t row = state.groups[4 * g], count = state.groups[4 * g + 1],
                    shared = state.groups[4 * g + 2];
      if (count < 2 || pages.end > shared) continue;
      // A finished sequence holds no pages: use the first row that still runs.
      const int32_t live = block.reduce(
          count, state.rows,
          [&](int64_t i) {
            return state.lengths[row + i] > 0 ? row + static_cast<int32_t>(i) : state.rows;
          },
          Min{});
      if (live < state.rows)
        part(block, {*this, row, live, kv, 0, split}, count, pages.begin * page_size,
             pages.end * page_size);
    }
  }

 private:
  template <class Block>
  CREAM_HOST_DEVICE void own(Block& block, int32_t row, int32_t kv, int32_t split) const {
    const PagedSplit pages(split);
    const int32_t length = state.lengths[row],
                  begin = pages.begin * static_cast<int32_t>(page_size);
    if (length <= begin || split < state.first_split(length) ||
        pages.end <= state.shared_pages(row))
      return;
    part(block, {*this, row, row, kv, 0, split}, 1, begin,
         tiles::smaller(length, pages.end * static_cast<int32_t>(page_size)));
  }

  // Positions begin … end−1 for all queries of `count` rows.
  template <class Block>
  CREAM_HOST_DEVICE void part(Block& block, View view, int32_t count, int32_t begin,
                              int32_t end) const {
    const int32_t queries = count * state.group(), most = tiles::most_held(view.d());
    for (view.first = 0; view.first < queries; view.first += most) {
      const int n = tiles::smaller(most, queries - view.first);
      int32_t first = begin;
      if (state.window > 0) {  // tiles that no query sees are not read
        const int32_t seen = block.reduce(
                          n, end, [&](int64_t i) { return view.begin_of(static_cast<int>(i)); },
                          Min{}),
                      tile = tiles::walked<T>(view.d());
        if (seen > begin) first = begin + (seen - begin) / tile * tile;
      }
      tiles::attend<T>(block, view, n, view.d(), first, end, scale, softcap);
    }
  }
};

// One block per row and query head: joins its visible splits in rising order.
template <class T>
struct PagedJoinBlock {
  const float *running, *sums;  // of PagedDecodeBlock
  PagedState state;
  T* out;  // [rows, heads, d]

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int32_t length = state.lengths[static_cast<int32_t>(block.index()) / state.heads];
    T* const to = out + block.index() * state.d;
    if (length == 0) return block.each(state.d, [&](int64_t j) { to[j] = narrow<T>(0.0f); });
    const int32_t first = state.first_split(length), end = paged_splits(length);
    const float* const r = running + block.index() * state.splits * 2;
    const float* const parts = sums + block.index() * state.splits * state.d;
    block.each(state.d, [&](int64_t j) {
      float max = -INFINITY, total = 0, sum = 0;
      for (int32_t s = first; s < end; ++s) max = fmaxf(max, r[2 * s]);
      for (int32_t s = first; s < end; ++s) {
        const float weight = expf(r[2 * s] - max);
        total += weight * r[2 * s + 1];
        sum += weight * parts[s * state.d + j];
      }
      to[j] = narrow<T>(sum / total);
    });
  }
};

}  // namespace cream::ops
