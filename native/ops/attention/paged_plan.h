// The work of a decode step in bf16 (paged_warp_block.h): which parts there are, and which block
// computes them. Lengths and groups are known on the device only, so a kernel of one block makes
// the plan there, once per step for all layers with the same window.
#pragma once

#include "ops/attention/paged_block.h"
#include "ops/attention/warp_tiles.h"

namespace cream::ops {

inline constexpr int kPagedWarps = 2;                   // of a block, 16 queries each
inline constexpr int kPagedQueries = 16 * kPagedWarps;  // of a block
inline constexpr int kPagedThreads = kPagedWarps * kWarp;

// One part of a sequence, or of a group's prompt, for `count` queries, whichever the kv head:
// queries from `first` on of the rows from `row` on.
struct alignas(16) PagedItem {
  int32_t row, first, count;
  int32_t live;                // the row whose page table is used
  int32_t begin, end, split;   // positions, from a multiple of a tile on
  int32_t all_begin, all_end;  // positions that every query sees
  int32_t cost, cost_before;   // of this item, and of all before it: tiles, and one for the rest
  int32_t unused;
};
static_assert(sizeof(PagedItem) == 48, "read as vectors of 16 bytes");

// A work is an item and a kv head: work / kv_heads, work % kv_heads. Block b computes the works
// first[b] … first[b + 1] − 1.
struct PagedPlan {
  const int32_t* memory;  // paged_plan_values() values, 16-byte aligned
  int32_t blocks;

  CREAM_HOST_DEVICE const int32_t* first() const { return memory; }  // [blocks + 1]
  CREAM_HOST_DEVICE static int64_t item_offset(int64_t blocks) { return (blocks + 1 + 3) / 4 * 4; }
  CREAM_HOST_DEVICE const PagedItem* items() const {
    return reinterpret_cast<const PagedItem*>(memory + item_offset(blocks));
  }
};

// Most items that a step can have: per split each row's own queries, and those of the groups, whose
// last block need not be full.
inline int64_t most_paged_items(int64_t rows, int64_t group, int64_t splits) {
  const int64_t own = rows * ((group + kPagedQueries - 1) / kPagedQueries),
                shared = rows * group / kPagedQueries + rows / 2;
  return splits * (own + shared);
}

// Makes the plan: two passes over the rows' and the groups' items, one that counts them and their
// costs and one that writes them, with the running sums between; then each block's share, which is
// an equal part of the costs.
struct PagedPlanBlock {
  PagedState state;
  int32_t* memory;  // out: a PagedPlan
  int32_t blocks;

  struct Count {
    int32_t items = 0, cost = 0;

    CREAM_HOST_DEVICE void add(const Count& other) { items += other.items, cost += other.cost; }
    CREAM_HOST_DEVICE void add(const PagedItem& item) { ++items, cost += item.cost; }
  };
  static constexpr int most_lanes = 1024;
  static constexpr int64_t shared_bytes = most_lanes * sizeof(Count);

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int32_t units = 2 * state.rows, lanes = smaller(units, most_lanes),
                  each = (units + lanes - 1) / lanes;  // units of a lane
    Count* const counts = block.template shared<Count>();
    auto own = block.keep(lanes, Count{});
    block.each(lanes, [&](int64_t lane) {
      for_items(lane, each, [&](const PagedItem& item) { own[lane].add(item); });
      counts[lane] = own[lane];
    });
    block.sync();
    for (int32_t step = 1; step < lanes; step *= 2) {  // running sums
      block.each(lanes, [&](int64_t lane) {
        if (lane >= step) own[lane].add(counts[lane - step]);
      });
      block.sync();
      block.each(lanes, [&](int64_t lane) { counts[lane] = own[lane]; });
      block.sync();
    }
    const Count all = counts[lanes - 1];
    PagedItem* const out = reinterpret_cast<PagedItem*>(memory + PagedPlan::item_offset(blocks));
    block.each(lanes, [&](int64_t lane) {
      Count before = lane == 0 ? Count{} : counts[lane - 1];
      for_items(lane, each, [&](PagedItem item) {
        item.cost_before = before.cost;
        out[before.items] = item;
        before.add(item);
      });
    });
    block.sync();
    block.each(blocks + 1, [&](int64_t b) { memory[b] = first_work(b, out, all); });
  }

 private:
  CREAM_HOST_DEVICE static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

  // The first work that begins at or after the block's share of the costs.
  CREAM_HOST_DEVICE int32_t first_work(int64_t b, const PagedItem* in_order,
                                       const Count& all) const {
    const int64_t kv_heads = state.kv_heads,
                  share = (b * all.cost * kv_heads + blocks - 1) / blocks;
    int32_t low = 0, high = all.items;  // the first item that begins there
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      if (in_order[middle].cost_before * kv_heads >= share)
        high = middle;
      else
        low = middle + 1;
    }
    if (low == 0) return 0;
    const PagedItem& before = in_order[low - 1];
    const int64_t kv = (share - before.cost_before * kv_heads + before.cost - 1) / before.cost;
    return static_cast<int32_t>((low - 1) * kv_heads + (kv < kv_heads ? kv : kv_heads));
  }

  // f(item) for the items of a lane's units: the groups, then the rows.
  template <class F>
  CREAM_HOST_DEVICE void for_items(int64_t lane, int32_t each, const F& f) const {
    const int32_t first = static_cast<int32_t>(lane) * each;
    for (int32_t unit = first; unit < smaller(first + each, 2 * state.rows); ++unit) {
      if (unit < state.rows)
        group_items(unit, f);
      else
        row_items(unit - state.rows, f);
    }
  }
  template <class F>
  CREAM_HOST_DEVICE void group_items(int32_t g, const F& f) const {
    const int32_t row = state.groups[4 * g], count = state.groups[4 * g + 1],
                  shared = state.groups[4 * g + 2];
    if (count < 2 || PagedSplit(0).end > shared) return;
    // A finished sequence holds no pages: use the first row that still runs.
    int32_t live = row;
    while (live < row + count && state.lengths[live] == 0) ++live;
    if (live == row + count) return;
    for (int32_t split = 0; split < state.splits && PagedSplit(split).end <= shared; ++split)
      items(row, count, live, split, PagedSplit(split).end * page, f);
  }
  template <class F>
  CREAM_HOST_DEVICE void row_items(int32_t row, const F& f) const {
    const int32_t length = state.lengths[row];
    for (int32_t split = 0; split < state.splits && PagedSplit(split).begin * page < length;
         ++split)
      if (PagedSplit(split).end > state.shared_pages(row))
        items(row, 1, row, split, smaller(length, PagedSplit(split).end * page), f);
  }

  // The items of one part of `count` rows, up to position `end`.
  template <class F>
  CREAM_HOST_DEVICE void items(int32_t row, int32_t count, int32_t live, int32_t split, int32_t end,
                               const F& f) const {
    constexpr int tile = warp_tiles::keys;
    const int32_t queries = count * state.group();
    for (int32_t first = 0; first < queries; first += kPagedQueries) {
      const int32_t n = smaller(kPagedQueries, queries - first);
      const auto [shortest, longest] =
          lengths_of(row + first / state.group(), row + (first + n - 1) / state.group());
      const int32_t window = state.window > 0 ? state.window : longest,
                    seen = shortest - window;  // the first position that a query sees
      PagedItem item{row, first, n, live, PagedSplit(split).begin * page, end, split, 0,
                     0,   0,     0, 0};
      if (seen > item.begin) item.begin += (seen - item.begin) / tile * tile;
      if (item.begin >= end || longest == 0) continue;
      item.all_begin = longest - window, item.all_end = shortest;
      item.cost = (end - item.begin + tile - 1) / tile + 1;
      f(item);
    }
  }

  struct Lengths {
    int32_t shortest, longest;
  };
  // Of the running ones of these rows.
  CREAM_HOST_DEVICE Lengths lengths_of(int32_t from, int32_t to) const {
    Lengths out{0, 0};
    for (int32_t row = from; row <= to; ++row) {
      const int32_t length = state.lengths[row];
      if (length == 0) continue;
      if (out.longest == 0 || length < out.shortest) out.shortest = length;
      if (length > out.longest) out.longest = length;
    }
    return out;
  }

  static constexpr int32_t page = page_size;
};

}  // namespace cream::ops
