// Decode attention in bf16 on the tensor cores, with the arithmetic of warp_tiles.h.
//
// A GPU holds all blocks at once; each walks over its works (paged_plan.h) and treats their tiles
// as one stream, so that the keys and values of the next tile are on their way while a tile is
// computed, also from one part to the next. A tile is four pages of keys, then four of values; each
// of the eight has its place in shared memory and is replaced by its successor as soon as it has
// been used. Seven are thus always under way: at head_dim 128, 28 KB for each of the four blocks
// that a multiprocessor of an H100 holds, where 23 KB hide the memory's latency. The two warps of a
// block have 16 queries each; where there are fewer, the second one only loads.
#pragma once

#include "ops/attention/paged_plan.h"

namespace cream::ops {

// D: the columns, at least head_dim. Exact: head_dim is D. Capped: there may be a softcap.
template <int D, bool Exact, bool Capped>
struct PagedWarpBlock {
  static constexpr int most_threads = kPagedThreads;
  const uint16_t* q;      // [rows, heads, d], rows `stride` values apart
  const uint16_t* cache;  // [pages, 2, kv_heads, page_size, d]
  PagedState state;
  PagedPlan plan;
  int64_t stride;
  float scale, softcap;  // softcap 0: none
  float* running;        // out: [rows, heads, splits, 2], max in units of log2, and sum
  float* sums;           // out: [rows, heads, splits, d]

  static constexpr int page = page_size, pages = warp_tiles::keys / page;  // of a tile
  static constexpr int row_stride = warp_tiles::stride<D>;
  enum Kind { keys, values };
  struct Query {
    int32_t place;       // row · heads + head
    int32_t begin, end;  // positions that it sees
  };
  struct Memory {
    Query queries[2][kPagedQueries];  // of an item and of the next one: by Tile::turn()
    alignas(16) uint16_t q[kPagedQueries * row_stride];
    uint16_t pages_of[2][pages][page * row_stride];  // by Kind
  };

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int32_t last = plan.first()[block.index() + 1];
    Tile now = start(plan.first()[block.index()], last);
    if (!now.exists()) return;
    auto& m = *block.template shared<Memory>();
    load_queries(block, m, now);
    for (int i = 0; i < pages; ++i) load(block, m, keys, i, now);
    for (int i = 0; i < pages - 1; ++i) load(block, m, values, i, now);
    auto warps = block.keep_warps(State<typename Block::Warp>{});
    while (now.exists()) {
      const Tile next = after(now, last);
      multiply_keys(block, m, warps, now, next);
      weigh(block, m, warps, now);
      multiply_values(block, m, warps, now, next);
      if (next.work != now.work) write(block, m, warps, now);
      now = next;
    }
  }

 private:
  // A tile of the stream.
  struct Tile {
    PagedItem item;
    int32_t work, kv, first;   // first: position
    uint32_t pages_at[pages];  // where the keys of its pages begin, in vectors of 8 values

    CREAM_HOST_DEVICE bool exists() const { return work >= 0; }
    CREAM_HOST_DEVICE bool starts() const { return first == item.begin; }
    CREAM_HOST_DEVICE int turn() const { return work % 2; }
  };
  template <class Warp>
  struct State {
    typename Warp::template Left<D> q;
    warp_tiles::Part<Warp, D> part;
    typename Warp::template Tile<page> scores[pages];
    typename Warp::template Left<page> weights[pages];
  };

  CREAM_HOST_DEVICE int d() const { return Exact ? D : state.d; }
  CREAM_HOST_DEVICE int32_t page_vectors() const { return page * d() / 8; }  // of a kv head

  CREAM_HOST_DEVICE Tile start(int32_t work, int32_t last) const {
    Tile tile{};
    tile.work = -1;
    if (work >= last) return tile;
    tile.work = work, tile.kv = work % state.kv_heads;
    tile.item = plan.items()[work / state.kv_heads];
    tile.first = tile.item.begin;
    find_pages(tile);
    return tile;
  }
  CREAM_HOST_DEVICE Tile after(Tile tile, int32_t last) const {
    if (tile.first + warp_tiles::keys >= tile.item.end) return start(tile.work + 1, last);
    tile.first += warp_tiles::keys;
    find_pages(tile);
    return tile;
  }
  CREAM_HOST_DEVICE void find_pages(Tile& tile) const {
    const int32_t* const table = state.page_table +
                                 static_cast<int64_t>(tile.item.live) * state.max_pages +
                                 tile.first / page;
    CREAM_UNROLL for (int i = 0; i < pages; ++i) {
      const uint32_t id = tile.first + i * page < tile.item.end ? table[i] : 0;
      tile.pages_at[i] = (id * 2 * state.kv_heads + tile.kv) * page_vectors();
    }
  }

  // Starts the copy of page i of a tile; positions from the item's end on are zeros. Ends a group
  // of copies, also where there is nothing to load.
  template <class Block>
  CREAM_HOST_DEVICE void load(Block& block, Memory& m, Kind kind, int i, const Tile& tile) const {
    constexpr int chunks = D / 8, copies = page * chunks / kPagedThreads;
    if (tile.exists()) {
      const int seen = tile.item.end - tile.first - i * page;
      const uint32_t at = tile.pages_at[i] + (kind == values ? state.kv_heads * page_vectors() : 0);
      const uint16_t* const from = cache + static_cast<int64_t>(at) * 8;
      uint16_t* const to = m.pages_of[kind][i];
      if (Exact && seen >= page)
        block.each_thread([&](unsigned thread) {
          const unsigned at_first = thread / chunks * row_stride + thread % chunks * 8;
          CREAM_UNROLL for (int n = 0; n < copies; ++n)
              block.copy(to + at_first + n * (kPagedThreads / chunks) * row_stride,
                         from + thread * 8 + n * kPagedThreads * 8);
        });
      else
        block.each(page * chunks, [&](int64_t n) {
          const int vector = static_cast<int>(n), r = vector / chunks, c = vector % chunks * 8;
          block.copy(to + r * row_stride + c, r < seen && c < d() ? from + r * d() + c : nullptr);
        });
    }
    block.copies();
  }
  template <class Block>
  CREAM_HOST_DEVICE void load_queries(Block& block, Memory& m, const Tile& tile) const {
    const PagedItem& item = tile.item;
    const int32_t group = state.group();
    const auto row_of = [&](int i) { return item.row + (item.first + i) / group; };
    const auto head_of = [&](int i) { return tile.kv * group + (item.first + i) % group; };
    block.each(kPagedQueries, [&](int64_t n) {
      const int i = static_cast<int>(n);
      Query query{0, 0, 0};
      if (i < item.count) {
        const int32_t row = row_of(i), length = state.lengths[row];
        query = {row * state.heads + head_of(i), state.window > 0 ? length - state.window : 0,
                 tiles::smaller(length, item.end)};
      }
      m.queries[tile.turn()][i] = query;
    });
    const int rows = tiles::ceil_div(item.count, kWarpRows) * kWarpRows;
    warp_tiles::fetch_queries<D>(block, m.q, rows, item.count, d(),
                                 [&](int i) { return q + row_of(i) * stride + head_of(i) * d(); });
  }

  // Scores of the tile. Before each product: the page is there, and the page before it has been
  // used by all warps, so that its successor may be loaded. Queries come with the last page of
  // keys.
  template <class Block, class Warps>
  CREAM_HOST_DEVICE void multiply_keys(Block& block, Memory& m, Warps& warps, const Tile& now,
                                       const Tile& next) const {
    using Warp = typename Block::Warp;
    CREAM_UNROLL for (int i = 0; i < pages; ++i) {
      if (i == 0 && now.starts())
        block.template await<pages - 1>();
      else
        block.template await<2 * pages - 2>();
      block.sync();
      if (i == 0)
        load(block, m, values, pages - 1, now);
      else
        load(block, m, keys, i - 1, next);
      block.each_warp([&](int w) {
        if (kWarpRows * w >= now.item.count) return;
        auto& state_of = warps[w];
        if (i == 0 && now.starts())
          state_of.q = Warp::template left<D>(m.q + kWarpRows * w * row_stride, row_stride);
        state_of.scores[i] = {};
        Warp::add_transposed(state_of.scores[i], state_of.q, m.pages_of[keys][i], row_stride);
      });
    }
  }

  // The scores' weights, and the sums so far for the new maximum.
  template <class Block, class Warps>
  CREAM_HOST_DEVICE void weigh(Block& block, const Memory& m, Warps& warps, const Tile& now) const {
    using Warp = typename Block::Warp;
    const warp_tiles::Score<Warp> score(scale, Capped ? softcap : 0);
    const PagedItem& item = now.item;
    const bool all_see = now.first >= item.all_begin &&
                         now.first + warp_tiles::keys <= tiles::smaller(item.end, item.all_end);
    block.each_warp([&](int w) {
      if (kWarpRows * w >= item.count) return;
      auto& [queries, sums_so_far, scores, weights] = warps[w];
      if (now.starts()) sums_so_far.clear();
      CREAM_UNROLL for (int i = 0; i < pages; ++i) {
        if (all_see)
          Warp::each(scores[i], [&](int, int, float& s) { s = score(s); });
        else
          Warp::each(scores[i], [&](int row, int n, float& s) {
            const Query& query = m.queries[now.turn()][kWarpRows * w + row];
            const int position = now.first + i * page + n;
            s = position >= query.begin && position < query.end ? score(s) : -INFINITY;
          });
      }
      const auto reference = sums_so_far.raise(Warp::row_max(scores));
      CREAM_UNROLL for (int i = 0; i < pages; ++i) {
        warp_tiles::exponentiate<Warp>(scores[i], reference);
        weights[i] = Warp::rounded(scores[i]);
      }
    });
  }

  template <class Block, class Warps>
  CREAM_HOST_DEVICE void multiply_values(Block& block, Memory& m, Warps& warps, const Tile& now,
                                         const Tile& next) const {
    CREAM_UNROLL for (int i = 0; i < pages; ++i) {
      block.template await<2 * pages - 2>();
      block.sync();
      if (i == 0) {
        if (next.exists() && next.starts()) load_queries(block, m, next);
        load(block, m, keys, pages - 1, next);
      } else {
        load(block, m, values, i - 1, next);
      }
      block.each_warp([&](int w) {
        if (kWarpRows * w < now.item.count)
          warps[w].part.add(warps[w].weights[i], m.pages_of[values][i], row_stride);
      });
    }
  }

  template <class Block, class Warps>
  CREAM_HOST_DEVICE void write(Block& block, const Memory& m, Warps& warps, const Tile& now) const {
    using Warp = typename Block::Warp;
    block.each_warp([&](int w) {
      if (kWarpRows * w >= now.item.count) return;
      auto& part = warps[w].part;
      const auto holds = [&](int row) { return kWarpRows * w + row < now.item.count; };
      const auto place = [&](int row) {
        return static_cast<int64_t>(m.queries[now.turn()][kWarpRows * w + row].place) *
                   state.splits +
               now.item.split;
      };
      Warp::each_pair(part.values, [&](int row, int n, float a, float b) {
        if (holds(row) && n < d()) store_vec(sums + place(row) * d() + n, Vec<float, 2>{a, b});
      });
      auto sum = Warp::column(part.sum);
      Warp::each_row(part.max, [&](int row, float x) {
        if (holds(row)) running[place(row) * 2] = x;
      });
      Warp::each_row(sum, [&](int row, float x) {
        if (holds(row)) running[place(row) * 2 + 1] = x;
      });
    });
  }
};

// Joins the parts of PagedWarpBlock in rising order, four columns of a row and head per thread.
struct WarpJoinBlock {
  static constexpr int most_threads = 128, columns = 4;
  const float *running, *sums;
  PagedState state;
  uint16_t* out;  // [rows, heads, d]

  // Blocks of `most_threads` threads.
  static int64_t blocks(int64_t rows, int64_t heads, int64_t d) {
    return (rows * heads * (d / columns) + most_threads - 1) / most_threads;
  }

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    block.each(most_threads, [&](int64_t thread) {
      const int64_t at = block.index() * most_threads + thread;
      const int32_t quads = state.d / columns, pair = static_cast<int32_t>(at / quads);
      if (pair < state.rows * state.heads)
        join<typename Block::Warp>(pair, static_cast<int32_t>(at % quads) * columns);
    });
  }

 private:
  // pair: row and head.
  template <class Warp>
  CREAM_HOST_DEVICE void join(int32_t pair, int32_t column) const {
    const int32_t length = state.lengths[pair / state.heads],
                  first = length > 0 ? state.first_split(length) : 0,
                  end = length > 0 ? paged_splits(length) : 0;
    const float* const r = running + static_cast<int64_t>(pair) * state.splits * 2;
    const float* const parts = sums + static_cast<int64_t>(pair) * state.splits * state.d + column;
    float max = -INFINITY, total = 0;
    Vec<float, columns> value{};
    for (int32_t s = first; s < end; ++s) {
      const auto part = load_vec<columns>(parts + s * state.d);
      const auto running_of = load_vec<2>(r + 2 * s);
      const warp_tiles::Weights<Warp> weights(max, running_of.x[0]);
      total = weights.join(total, running_of.x[1]);
      for (int i = 0; i < columns; ++i) value.x[i] = weights.join(value.x[i], part.x[i]);
    }
    Vec<uint16_t, columns> result{};
    for (int i = 0; i < columns; ++i)
      if (length > 0) result.x[i] = narrow<uint16_t>(value.x[i] / total);
    store_vec(out + static_cast<int64_t>(pair) * state.d + column, result);
  }
};

}  // namespace cream::ops
