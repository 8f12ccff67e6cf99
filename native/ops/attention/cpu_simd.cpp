// Online softmax attention (Milakov & Gimelshein 2018; FlashAttention). For each block of 64 keys:
//   s = scale·q·kᵀ,  m' = max(m, s),  p = exp(s − m'),
//   l = l·exp(m − m') + Σp,  o = o·exp(m − m') + p·v
// A block is transposed once for all queries: 16 keys as bf16 [d/2][16][2] for VDPBF16PS, values
// widened to fp32 where that pays. A KV cache keeps full groups of 16 keys transposed. On AMX
// (score_amx.h) the queries are transposed instead. Blocks start at the part's first key, and a
// query's arithmetic does not depend on its neighbours; a key that a query does not see (after it,
// or before its window) contributes exactly 0. So neither the batch nor the grouping of rows
// changes a result.
#include "ops/attention/kernel.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "ops/attention/tile.h"
#ifdef __AMX_BF16__
#include "ops/attention/score_amx.h"
#endif

namespace cream::ops::attend {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

inline int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

#ifndef __AMX_BF16__
constexpr int64_t scored_queries = tile_queries;  // at once
constexpr int64_t transposed_floats(int64_t, int64_t) { return 0; }
#endif

// Layout of the scratch memory of `count` queries; all fp32 but `query`, which holds T.
struct Layout {
  int64_t max, sum, out, query, keys, values, scores, transposed, end;
  Layout(int64_t count, int64_t d) {
    const int64_t rows = padded(count, tile_queries);
    max = 0;
    sum = max + padded(rows, 16);
    out = sum + padded(rows, 16);
    query = out + rows * d;
    keys = query + rows * d;
    values = keys + key_block * d;
    scores = values + key_block * d;
    transposed = scores + scored_queries * key_block;
    end = transposed + transposed_floats(count, d);
  }
};

template <class T>
void widen_values(const T* values, int64_t stride, int64_t n, int64_t d, float* to) {
  for (int64_t key = 0; key < n; ++key)
    for (int64_t i = 0; i < d; i += 16)
      store16(to + key * d + i, load16(values + key * stride + i));
}

// The keys of a block that a query sees.
struct Span {
  int64_t begin, end;
};

template <bool Window>
inline Mask seen(const Span& span, int64_t column) {
  const Mask before_end = first_lanes(span.end - 16 * column);
  if constexpr (!Window) return before_end;
  return without16(before_end, first_lanes(span.begin - 16 * column));
}

// Turns one query's scores in `columns` vectors, valid within `span`, into weights; returns the
// factor for the earlier sums. Without Window the span begins at the block's first key.
template <bool Window>
float soften(float* scores, int64_t columns, const Span& span, float& max, float& sum) {
  const Floats none = set16(minus_infinity);
  Floats high = none;
  for (int64_t c = 0; c < columns; ++c)
    high = max16(high, load16(scores + 16 * c, seen<Window>(span, c), none));
  const float next = std::max(max, top16(high));
  Floats total = zero16();
  for (int64_t c = 0; c < columns; ++c) {
    const Floats s = load16(scores + 16 * c, seen<Window>(span, c), none);
    // Before the first key, −inf − (−inf) is NaN, which exp16 maps to 0 as needed.
    const Floats p = exp16(sub16(s, set16(next)));
    total = add16(total, p);
    store16(scores + 16 * c, p);
  }
  const float factor = max == next ? 1.0f : lane0(exp16(set16(max - next)));
  max = next;
  sum = sum * factor + sum16(total);
  return factor;
}

// Values of one block as they are read: widened to fp32 beforehand, or as stored.
template <class V>
struct Values {
  const V* data;
  int64_t stride;
};

// o = o·factor + p·v for R queries and C·16 dimensions, over n keys. Returns what is left of
// `ahead`.
template <int R, int C, class V>
Ahead accumulate(const float* p, const float* factor, Values<V> values, int64_t n, int64_t d,
                 float* out, Ahead ahead) {
  Floats acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = mul16(load16(out + r * d + 16 * c), set16(factor[r]));
  for (int64_t key = 0; key < n; ++key, values.data += values.stride) {
    ahead.step();
    Floats v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) v[c] = load16(values.data + 16 * c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Floats weight = set16(p[r * key_block + key]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = fma16(weight, v[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store16(out + r * d + 16 * c, acc[r][c]);
  return ahead;
}

// One block of keys, and its values.
template <class V>
struct BlockOf {
  float* scratch;
  const Layout& at;
  int64_t d, n;
  float scale, softcap;
  Values<V> values;
  Ahead& keys_ahead;
  Ahead& values_ahead;
  Columns keys = {};  // of block(); tiles have KeyTiles
};

// Adds the block to R queries from `first` on, given their scores; query r sees the keys spans[r]
// within 0 … n.
template <int R, class V>
void weigh(const BlockOf<V>& b, int64_t first, const Span* spans, float* scores) {
  const int64_t columns = (b.n + 15) / 16;
  float *out = b.scratch + b.at.out + first * b.d, factor[R];
  if (b.softcap != 0)
    for (int64_t i = 0; i < R * key_block; i += 16)
      store16(scores + i, softcap16(load16(scores + i), b.softcap));
  int64_t most = 0;
  for (int r = 0; r < R; ++r) {
    float &max = b.scratch[b.at.max + first + r], &sum = b.scratch[b.at.sum + first + r];
    float* line = scores + r * key_block;
    factor[r] = spans[r].begin > 0 ? soften<true>(line, columns, spans[r], max, sum)
                                   : soften<false>(line, columns, spans[r], max, sum);
    most = std::max(most, spans[r].end);
  }
  int64_t i = 0;
  b.values_ahead.spread(most * std::max<int64_t>(1, b.d / (16 * most_columns)));
  const auto add = [&]<int C>() {
    b.values_ahead = accumulate<R, C>(scores, factor, Values<V>{b.values.data + i, b.values.stride},
                                      most, b.d, out + i, b.values_ahead);
    i += 16 * C;
  };
  while (i + 16 * most_columns <= b.d) add.template operator()<most_columns>();
  while (i < b.d) add.template operator()<1>();
}

// With a transposed block.
template <int R, class T, class V>
void block(const BlockOf<V>& b, int64_t first, const Span* spans) {
  const int64_t words = b.d * static_cast<int64_t>(sizeof(T)) / 4;
  const int32_t* query = reinterpret_cast<const int32_t*>(b.scratch + b.at.query) + first * words;
  float* const scores = b.scratch + b.at.scores;
  score_columns<R, T>(query, b.keys, words, (b.n + 15) / 16, b.scale, scores, b.keys_ahead);
  weigh<R>(b, first, spans, scores);
}

template <class V>
using Block = void (*)(const BlockOf<V>&, int64_t, const Span*);
template <class T, class V>
constexpr Block<V> blocks[tile_queries + 1] = {nullptr,        block<1, T, V>, block<2, T, V>,
                                               block<3, T, V>, block<4, T, V>, block<5, T, V>,
                                               block<6, T, V>};

// What the queries from `first` of `range` on see of a block that begins at key `start` of its
// part; whether any of them sees any key.
template <size_t N>
bool spans_of(Range range, int64_t first, int64_t count, int64_t start, int64_t n,
              const Visible& visible, Span (&spans)[N]) {
  bool any = false;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t query = first - range.first + i;
    spans[i].end = visible.end ? std::clamp<int64_t>(visible.end[query] - start, 0, n) : n;
    spans[i].begin =
        visible.begin ? std::clamp<int64_t>(visible.begin[query] - start, 0, spans[i].end) : 0;
    any = any || spans[i].begin < spans[i].end;
  }
  return any;
}

// All queries of `range` against one block.
template <class T, class V>
void each_tile(const BlockOf<V>& b, Range range, int64_t start, const Visible& visible) {
  for (int64_t first = range.first; first < range.last; first += tile_queries) {
    const int64_t count = std::min(tile_queries, range.last - first);
    Span spans[tile_queries];
    if (spans_of(range, first, count, start, b.n, visible, spans))
      blocks<T, V>[count](b, first, spans);
  }
}

// The columns of n ≤ 64 keys, of which the first `grouped` lie transposed and the others are
// transposed to `rest`.
template <class T>
Columns columns_of(const T* keys, int64_t stride, int64_t n, int64_t d, int64_t grouped,
                   int32_t* rest) {
  const int64_t words = d * static_cast<int64_t>(sizeof(T)) / 4;
  if (grouped < n) transpose_keys(keys + grouped * stride, stride, n - grouped, d, rest);
  Columns columns(rest - grouped * words, words);
  for (int64_t c = 0; c < grouped / key_group; ++c)
    columns.at[c] = reinterpret_cast<const int32_t*>(keys + c * key_group * d);
  return columns;
}

#ifdef __AMX_BF16__
template <class V>
using Weigh = void (*)(const BlockOf<V>&, int64_t, const Span*, float*);
template <class V>
constexpr Weigh<V> weighs[tile_queries + 1] = {nullptr,     weigh<1, V>, weigh<2, V>, weigh<3, V>,
                                               weigh<4, V>, weigh<5, V>, weigh<6, V>};

// The same on AMX's tiles, with the queries of `range` transposed.
template <class V>
void each_tile(const BlockOf<V>& b, const KeyTiles& keys, Range range, int64_t start,
               const Visible& visible) {
  float* const scores = b.scratch + b.at.scores;
  for (int64_t first = range.first; first < range.last; first += scored_queries) {
    const int64_t count = std::min(scored_queries, range.last - first);
    Span spans[scored_queries];
    if (!spans_of(range, first, count, start, b.n, visible, spans)) continue;
    score_tiles(keys, b.d,
                reinterpret_cast<const int32_t*>(b.scratch + b.at.transposed) +
                    (first - range.first) * (b.d / 2),
                b.scale, scores);
    for (int64_t i = 0; i < count; i += tile_queries) {
      const int64_t n = std::min(tile_queries, count - i);
      const bool any = std::any_of(spans + i, spans + i + n,
                                   [](const Span& span) { return span.begin < span.end; });
      if (any) weighs<V>[n](b, first + i, spans + i, scores + i* key_block);
    }
  }
}
#endif

}  // namespace

template <Level L>
int64_t scratch_floats(int64_t count, int64_t head_dim) {
  return Layout(count, head_dim).end;
}

template <Level L, class T>
void group_keys(T* keys, int64_t d) {
  T rows[key_group * most_head_dim];
  std::copy_n(keys, key_group * d, rows);
  transpose_keys(rows, d, key_group, d, reinterpret_cast<int32_t*>(keys));
}

template <Level L, class T>
void prefetch(const Keys<T>& keys, int64_t d) {
  Ahead of_keys, of_values;
  first_block(keys, 0, d, of_keys, of_values);
  of_keys.rest();
  of_values.rest();
}

template <Level L, class T>
void begin(const Queries<T>& queries) {
  const Layout at(queries.count, queries.head_dim);
  const int64_t d = queries.head_dim;
  T* copy = reinterpret_cast<T*>(queries.scratch + at.query);
  for (int64_t i = 0; i < queries.count; ++i) {
    queries.scratch[at.max + i] = minus_infinity;
    queries.scratch[at.sum + i] = 0;
    std::memcpy(copy + i * d, queries.q[i], d * sizeof(T));
    std::fill_n(queries.scratch + at.out + i * d, d, 0.0f);
  }
}

template <Level L, class T>
void add(const Queries<T>& queries, const Keys<T>& keys, Range range, const Visible& visible,
         const Keys<T>* next) {
  const int64_t d = queries.head_dim;
  const Layout at(queries.count, d);
  float* scratch = queries.scratch;
#ifdef __AMX_BF16__
  std::optional<Tiles> tiles;
  if (fits_tiles<T>(d) && keys.grouped == 0) {
    tiles.emplace();
    transpose_queries(reinterpret_cast<const int32_t*>(scratch + at.query), range, d,
                      reinterpret_cast<int32_t*>(scratch + at.transposed));
  }
#endif
  // Blocks before every query's window are skipped; the others keep their positions.
  const int64_t hidden =
      visible.begin ? *std::min_element(visible.begin, visible.begin + (range.last - range.first))
                    : 0;
  for (int64_t start = hidden / key_block * key_block; start < keys.length; start += key_block) {
    const int64_t n = std::min(key_block, keys.length - start);
    Ahead keys_ahead, values_ahead;
    if (start + n < keys.length)
      first_block(keys, start + n, d, keys_ahead, values_ahead);
    else if (next)
      first_block(*next, 0, d, keys_ahead, values_ahead);
    const T *block_keys = keys.keys + start * keys.stride,
            *values = keys.values + start * keys.stride;
    const auto multiply = [&]<class V>(BlockOf<V> b) {
#ifdef __AMX_BF16__
      if constexpr (sizeof(T) == 2)
        if (tiles) {
          keys_ahead.rest();  // no loop of score_tiles() fetches them
          const KeyTiles of(block_keys, keys.stride, n, d,
                            reinterpret_cast<uint16_t*>(scratch + at.keys));
          return each_tile<V>(b, of, range, start, visible);
        }
#endif
      const int64_t grouped = std::clamp<int64_t>(keys.grouped - start, 0, n);
      b.keys = columns_of(block_keys, keys.stride, n, d, grouped,
                          reinterpret_cast<int32_t*>(scratch + at.keys));
      each_tile<T, V>(b, range, start, visible);
    };
    // Widening is exact, so it does not change the result. It pays if several tiles read the block.
    if (sizeof(T) == sizeof(float) || range.last - range.first <= tile_queries) {
      multiply(BlockOf<T>{scratch,
                          at,
                          d,
                          n,
                          queries.scale,
                          queries.softcap,
                          {values, keys.stride},
                          keys_ahead,
                          values_ahead});
    } else {
      widen_values(values, keys.stride, n, d, scratch + at.values);
      multiply(BlockOf<float>{scratch,
                              at,
                              d,
                              n,
                              queries.scale,
                              queries.softcap,
                              {scratch + at.values, d},
                              keys_ahead,
                              values_ahead});
    }
    keys_ahead.rest();
    values_ahead.rest();
  }
}

template <Level L, class T>
void finish(const Queries<T>& queries, T* const* out) {
  const int64_t d = queries.head_dim;
  const Layout at(queries.count, d);
  for (int64_t i = 0; i < queries.count; ++i) {
    const Floats inverse = set16(1.0f / queries.scratch[at.sum + i]);
    for (int64_t j = 0; j < d; j += 16)
      store16(out[i] + j, mul16(load16(queries.scratch + at.out + i * d + j), inverse));
  }
}

template int64_t scratch_floats<CREAM_LEVEL>(int64_t, int64_t);
template void group_keys<CREAM_LEVEL>(uint16_t*, int64_t);
template void group_keys<CREAM_LEVEL>(float*, int64_t);
template void prefetch<CREAM_LEVEL>(const Keys<uint16_t>&, int64_t);
template void prefetch<CREAM_LEVEL>(const Keys<float>&, int64_t);
template void begin<CREAM_LEVEL>(const Queries<uint16_t>&);
template void begin<CREAM_LEVEL>(const Queries<float>&);
template void add<CREAM_LEVEL>(const Queries<uint16_t>&, const Keys<uint16_t>&, Range,
                               const Visible&, const Keys<uint16_t>*);
template void add<CREAM_LEVEL>(const Queries<float>&, const Keys<float>&, Range, const Visible&,
                               const Keys<float>*);
template void finish<CREAM_LEVEL>(const Queries<uint16_t>&, uint16_t* const*);
template void finish<CREAM_LEVEL>(const Queries<float>&, float* const*);

}  // namespace cream::ops::attend
