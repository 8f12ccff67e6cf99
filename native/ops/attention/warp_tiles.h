// Attention in bf16 on the tensor cores (support/warp.h), for packed batches (attend_rows() below)
// and for decode (paged_warp_block.h). Both give a query the same bits, because they share the
// order of computation that is defined here:
//
//   tiles   64 positions of the sequence, from multiples of 64: scores Q·Kᵀ in fp32, the running
//           maximum, P = 2^(s − max) rounded to bf16, sums P·V and P·1 from it (Dao 2022)
//   parts   the positions of one PagedSplit: the tiles of a part share a maximum and sums
//   join    the parts, in ascending order
//
// A tile or part in which a query sees no position leaves the query's sums bit for bit as they are,
// so a kernel may compute or skip it. Scores are in units of log2.
#pragma once

#include "ops/attention/tile_block.h"
#include "support/warp.h"

namespace cream::ops::warp_tiles {

inline constexpr int keys = 64;      // of a tile
inline constexpr int threads = 128;  // of a block of attend_rows()
inline constexpr int warps = threads / kWarp;
inline constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

// Elements between rows in shared memory. 16 bytes more than a multiple of 128, so that eight rows
// of one column lie in different banks.
template <int D>
inline constexpr int stride = D + 8;

// Factors for adding a part with maximum `other` to sums with maximum `max`, which is raised: the
// join() below for scalars.
template <class Warp>
struct Weights {
  float old, added;

  CREAM_HOST_DEVICE Weights(float& max, float other) {
    const float both = fmaxf(max, other), reference = both == -INFINITY ? 0 : both;
    old = Warp::exp2(max - reference), added = Warp::exp2(other - reference);
    max = both;
  }
  CREAM_HOST_DEVICE float join(float x, float part) const {
    return Warp::multiply_add(part, added, Warp::multiply(x, old));
  }
};

// Turns a product q·k into a score in units of log2.
template <class Warp>
struct Score {
  float scale, cap, cap_log2;  // cap 0: none

  CREAM_HOST_DEVICE Score(float scale, float softcap)
      : scale(softcap > 0 ? scale / softcap : scale * kLog2E),
        cap(softcap),
        cap_log2(softcap * kLog2E) {}
  CREAM_HOST_DEVICE float operator()(float product) const {
    const float x = Warp::multiply(product, scale);
    return cap > 0 ? Warp::multiply(cap_log2, tanhf(x)) : x;
  }
};

// The sums of a part for 16 queries over N of the columns of V.
template <class Warp, int N>
struct Part {
  typename Warp::template Tile<N> values;
  typename Warp::template Tile<8> sum;
  typename Warp::Rows max = Warp::filled(-INFINITY);

  CREAM_HOST_DEVICE void clear() { *this = Part(); }

  // Raises the maxima and rescales the sums; returns the values to subtract from scores before
  // exp2.
  CREAM_HOST_DEVICE typename Warp::Rows raise(const typename Warp::Rows& highest) {
    const auto before = max;
    max = Warp::joined(max, highest, [](float a, float b) { return fmaxf(a, b); });
    const auto reference =
        Warp::joined(max, max, [](float a, float) { return a == -INFINITY ? 0.0f : a; });
    const auto factor =
        Warp::joined(before, reference, [](float a, float b) { return Warp::exp2(a - b); });
    Warp::with_rows(values, factor, [](float& x, float f) { x = Warp::multiply(x, f); });
    Warp::with_rows(sum, factor, [](float& x, float f) { x = Warp::multiply(x, f); });
    return reference;
  }
  template <int K>
  CREAM_HOST_DEVICE void add(const typename Warp::template Left<K>& p, const uint16_t* v,
                             int v_stride) {
    Warp::add(values, p, v, v_stride);
    Warp::add_row_sums(sum, p);
  }
};

// Joins a finished part to those before it, and clears it.
template <class Warp, int N>
CREAM_HOST_DEVICE void join(Part<Warp, N>& all, Part<Warp, N>& part) {
  using Rows = typename Warp::Rows;
  Rows old = all.max, added = part.max;
  all.max = Warp::joined(old, added, [](float a, float b) { return fmaxf(a, b); });
  const auto weight = [](float max, float both) {
    return Warp::exp2(max - (both == -INFINITY ? 0 : both));
  };
  old = Warp::joined(old, all.max, weight), added = Warp::joined(added, all.max, weight);
  const auto join = [](float& x, float y, float a, float b) {
    x = Warp::multiply_add(y, b, Warp::multiply(x, a));
  };
  Warp::combine(all.values, part.values, old, added, join);
  Warp::combine(all.sum, part.sum, old, added, join);
  part.clear();
}

template <class Warp, int N>
CREAM_HOST_DEVICE void exponentiate(typename Warp::template Tile<N>& scores,
                                    const typename Warp::Rows& reference) {
  Warp::with_rows(scores, reference, [](float& s, float r) { s = Warp::exp2(s - r); });
}

// Starts the copy of a tile's keys and values, `seen` of them, d of D columns; the rest are zeros.
// row(i): their addresses, a tiles::Pair.
template <int D, class Block, class Row>
CREAM_HOST_DEVICE void fetch(Block& block, uint16_t* to_k, uint16_t* to_v, int seen, int d,
                             const Row& row) {
  constexpr int chunks = D / 8;
  block.each(keys * chunks, [&](int64_t i) {
    const int r = static_cast<int>(i) / chunks, c = static_cast<int>(i) % chunks * 8;
    tiles::Pair<uint16_t> from{nullptr, nullptr};
    if (r < seen && c < d) {
      from = row(r);
      from.a += c, from.b += c;
    }
    block.copy(to_k + r * stride<D> + c, from.a);
    block.copy(to_v + r * stride<D> + c, from.b);
  });
}

// fetch() for queries: `count` of `rows`.
template <int D, class Block, class Query>
CREAM_HOST_DEVICE void fetch_queries(Block& block, uint16_t* to, int rows, int count, int d,
                                     const Query& query) {
  constexpr int chunks = D / 8;
  block.each(rows * chunks, [&](int64_t i) {
    const int r = static_cast<int>(i) / chunks, c = static_cast<int>(i) % chunks * 8;
    block.copy(to + r * stride<D> + c, r < count && c < d ? query(r) + c : nullptr);
  });
}

// Shared memory of attend_rows().
template <int D>
struct RowsMemory {
  static constexpr int rows = 16 * warps;  // queries
  uint16_t q[rows * stride<D>];
  float max[rows], sum[rows];
  union {
    uint16_t tiles[2][2][keys * stride<D>];
    float out[rows * D];
  };
};

// `count` queries in ascending position, over positions 0 … end−1. A view has query(i),
// rows(position), sees(i, position), position_of(i), begin() (the first position that a query sees)
// and finish(i, column, sums, running). end_of_part(position): the end of the part that contains
// the position.
template <int D, class Block, class View, class EndOfPart>
CREAM_HOST_DEVICE void attend_rows(Block& block, const View& view, int count, int d, int end,
                                   float scale, float softcap, const EndOfPart& end_of_part) {
  using Warp = typename Block::Warp;
  struct State {
    typename Warp::template Left<D> q;
    Part<Warp, D> part, all;
  };
  auto& m = *block.template shared<RowsMemory<D>>();
  const Score<Warp> score(scale, softcap);
  const int begin = view.begin() / keys * keys;
  const auto load = [&](int first) {
    auto& stage = m.tiles[(first - begin) / keys % 2];
    fetch<D>(block, stage[0], stage[1], tiles::smaller(keys, end - first), d,
             [&](int i) { return view.rows(first + i); });
    block.copies();
  };

  block.sync();
  fetch_queries<D>(block, m.q, RowsMemory<D>::rows, count, d, [&](int i) { return view.query(i); });
  load(begin);
  if (begin + keys < end) load(begin + keys);
  auto state = block.keep_warps(State{});
  int part_end = end_of_part(begin);
  for (int first = begin; first < end; first += keys) {
    if (first + keys < end)
      block.template await<1>();
    else
      block.template await<0>();
    block.sync();
    auto& stage = m.tiles[(first - begin) / keys % 2];
    const bool last_of_part = first + keys >= end || first + keys == part_end;
    block.each_warp([&](int w) {
      State& s = state[w];
      const int top = 16 * w, bottom = tiles::smaller(top + 15, count - 1);
      if (top >= count) return;
      if (first == begin) s.q = Warp::template left<D>(m.q + top * stride<D>, stride<D>);
      if (first <= view.position_of(bottom)) {
        typename Warp::template Tile<keys> scores;
        Warp::add_transposed(scores, s.q, stage[0], stride<D>);
        const bool all_see = top + 15 < count && first + keys <= end &&
                             view.sees(top, first + keys - 1) && view.sees(bottom, first);
        if (all_see)
          Warp::each(scores, [&](int, int, float& x) { x = score(x); });
        else
          Warp::each(scores, [&](int row, int n, float& x) {
            x = top + row < count && first + n < end && view.sees(top + row, first + n) ? score(x)
                                                                                        : -INFINITY;
          });
        exponentiate<Warp>(scores, s.part.raise(Warp::row_max(scores)));
        s.part.add(Warp::rounded(scores), stage[1], stride<D>);
      }
      if (last_of_part) join<Warp>(s.all, s.part);
    });
    if (last_of_part) part_end = end_of_part(first + keys);
    block.sync();
    if (first + 2 * keys < end) load(first + 2 * keys);
  }

  block.each_warp([&](int w) {
    const int top = 16 * w;
    if (top >= count) return;
    auto& all = state[w].all;
    Warp::each(all.values, [&](int row, int n, float& x) { m.out[(top + row) * D + n] = x; });
    auto sum = Warp::column(all.sum);
    Warp::each_row(sum, [&](int row, float x) { m.sum[top + row] = x; });
    Warp::each_row(all.max, [&](int row, float x) { m.max[top + row] = x; });
  });
  block.sync();
  const int chunks = d / tiles::chunk;
  block.each(count * chunks, [&](int64_t i) {
    const int row = static_cast<int>(i) / chunks, c = static_cast<int>(i) % chunks * tiles::chunk;
    view.finish(row, c, tiles::load_chunk(m.out + row * D + c), {m.max[row], m.sum[row]});
  });
}

}  // namespace cream::ops::warp_tiles
