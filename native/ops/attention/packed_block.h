// Attention over a packed batch and its gradient. A block handles one tile of queries (or of keys)
// and one kv head and owns its outputs; the query heads of a kv head are summed within the block in
// rising order, without atomics. With P = exp(S − log-sum-exp), saved by the forward pass (Dao
// 2022, appendix B; T = cap(S), dS/dT as in gradient_reference.cpp):
//
//   δ = rowsum(dO∘O)           dS = P∘(dO·Vᵀ − δ)∘(1 − (T / c)²)
//   dQ = scale·dS·K            dK = scale·dSᵀ·Q            dV = Pᵀ·dO
#pragma once

#include "ops/attention/cuda.h"
#include "ops/attention/paged_block.h"
#include "ops/attention/warp_tiles.h"

namespace cream::ops {

// Queries (rows of a tile from `first` × the query heads of one kv head) and the positions that
// they see; position 0 is the prefix's first row.
template <class T>
struct PackedView {
  const PackedCuda<T>& c;
  QueryTile t;
  int32_t kv, first;

  CREAM_HOST_DEVICE int32_t group() const { return static_cast<int32_t>(c.heads / c.kv_heads); }
  CREAM_HOST_DEVICE int32_t position_of(int i) const {
    return t.prefix_length + t.position + (first + i) / group();
  }
  CREAM_HOST_DEVICE int64_t row_of(int i) const { return t.row + (first + i) / group(); }
  CREAM_HOST_DEVICE int64_t head_of(int i) const { return kv * group() + (first + i) % group(); }
  CREAM_HOST_DEVICE int64_t place(int i) const {
    return row_of(i) * c.heads + head_of(i);
  }  // of [tokens, heads]
  CREAM_HOST_DEVICE int slices(int count) const {
    return tiles::most_slices<T>(count, static_cast<int>(c.d));
  }
  CREAM_HOST_DEVICE const T* query(int i) const {
    return c.q + row_of(i) * c.q_stride + head_of(i) * c.d;
  }
  CREAM_HOST_DEVICE tiles::Pair<T> rows(int position) const {
    const int64_t row = position < t.prefix_length
                            ? t.prefix_start + position
                            : t.row - t.position + position - t.prefix_length;
    return {c.k + row * c.k_stride + kv * c.d, c.v + row * c.v_stride + kv * c.d};
  }
  CREAM_HOST_DEVICE bool sees(int i, int position) const {
    const int distance = position_of(i) - position;
    return distance >= 0 && (c.window == 0 || distance < c.window);
  }
  CREAM_HOST_DEVICE int begin() const {
    return c.window > 0 ? tiles::larger(0, position_of(0) + 1 - static_cast<int>(c.window)) : 0;
  }
  CREAM_HOST_DEVICE int end(int count) const { return position_of(count - 1) + 1; }
  CREAM_HOST_DEVICE void write(int i, int column, const tiles::Chunk& sums,
                               const tiles::Running& all) const {
    tiles::store_chunk(c.out + place(i) * c.d + column, tiles::times(sums, 1.0f / all.sum));
    if (column == 0) log_sum(i) = all.max + logf(all.sum);
  }
  // write() for the sums of warp_tiles::attend_rows(), divided as in WarpJoinBlock.
  CREAM_HOST_DEVICE void finish(int i, int column, tiles::Chunk sums,
                                const tiles::Running& all) const {
    for (float& x : sums.x) x = x / all.sum;
    tiles::store_chunk(c.out + place(i) * c.d + column, sums);
    if (column == 0) log_sum(i) = all.max * warp_tiles::kLn2 + logf(all.sum);
  }
  CREAM_HOST_DEVICE float& log_sum(int i) const {
    return c.logsumexp[row_of(i) * c.logsumexp_row + head_of(i) * c.logsumexp_head];
  }
};

template <class T>
struct PackedBlock {
  static constexpr int most_threads = tiles::threads;
  PackedCuda<T> c;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int d = static_cast<int>(c.d), most = tiles::most_held(d);
    PackedView<T> view{c, c.plan.queries[block.index() / c.kv_heads],
                       static_cast<int32_t>(block.index() % c.kv_heads), 0};
    const int queries = view.t.rows * view.group();
    for (; view.first < queries; view.first += most) {
      const int count = tiles::smaller(most, queries - view.first);
      tiles::attend<T>(block, view, count, d, view.begin(), view.end(count), c.scale, c.softcap);
    }
  }
};

// PackedBlock in bf16 on the tensor cores, for d at most D.
template <int D>
struct PackedWarpBlock {
  static constexpr int most_threads = warp_tiles::threads;
  PackedCuda<uint16_t> c;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    constexpr int most = warp_tiles::RowsMemory<D>::rows;
    PackedView<uint16_t> view{c, c.plan.queries[block.index() / c.kv_heads],
                              static_cast<int32_t>(block.index() % c.kv_heads), 0};
    const int queries = view.t.rows * view.group();
    for (; view.first < queries; view.first += most) {
      const int count = tiles::smaller(most, queries - view.first);
      warp_tiles::attend_rows<D>(block, view, count, static_cast<int>(c.d), view.end(count),
                                 c.scale, c.softcap, paged_part_end);
    }
  }
};

// P and dS of one score, without the scale.
struct ScoreGradient {
  float p, ds;
};
CREAM_HOST_DEVICE inline ScoreGradient score_gradient(float score, float cap, float logsumexp,
                                                      float d_p, float delta) {
  const float t = tiles::capped(score, cap), p = expf(t - logsumexp), ds = p * (d_p - delta);
  return {p, cap > 0 ? ds * (1 - t * t / (cap * cap)) : ds};
}

// dQ, and δ for the pass over keys.
template <class T>
struct QueryGradientBlock {
  static constexpr int most_threads = tiles::threads;
  PackedGradientCuda<T> g;

  // Two tiles, queries and slopes, dS.
  static int64_t bytes(int held, int d) {
    const int tile = tiles::walked<T>(d);
    return 2 * static_cast<int64_t>(tile) * tiles::padded<T>(d) * static_cast<int64_t>(sizeof(T)) +
           4 * (static_cast<int64_t>(held) * (2 * d + tile + 2));
  }

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const PackedCuda<T>& c = g.forward;
    const int most = tiles::most_held(static_cast<int>(c.d));
    PackedView<T> view{c, c.plan.queries[block.index() / c.kv_heads],
                       static_cast<int32_t>(block.index() % c.kv_heads), 0};
    const int queries = view.t.rows * view.group();
    for (; view.first < queries; view.first += most)
      some(block, view, tiles::smaller(most, queries - view.first));
  }

 private:
  template <class Block>
  CREAM_HOST_DEVICE void some(Block& block, const PackedView<T>& view, int count) const {
    using namespace tiles;
    const PackedCuda<T>& c = g.forward;
    const int d = static_cast<int>(c.d), tile = walked<T>(d), quads = ceil_div(count, quad),
              rows = quads * quad, chunks = d / chunk;
    T* const keys = block.template shared<T>();
    T* const values = keys + tile * padded<T>(d);
    float* const held =
        reinterpret_cast<float*>(values + tile * padded<T>(d));  // queries [rows, d]
    float *const slopes = held + rows * d, *const weights =
                                               slopes + rows * d;  // [rows, d], [tile, rows]
    float *const deltas = weights + tile * rows, *const sums_of =
                                                     deltas + rows;  // [rows] each: δ, log-sum-exp

    block.sync();
    hold(block, held, count, d, c.scale, [&](int i) { return view.query(i); });
    hold(block, slopes, count, d, 1, [&](int i) { return g.d_out + view.place(i) * c.d; });
    block.each(rows, [&](int64_t i) {
      float delta = 0;
      if (i < count) {
        const int64_t place = view.place(static_cast<int>(i));
        for (int j = 0; j < d; j += chunk) {
          const Chunk a = load_chunk(g.d_out + place * d + j),
                      b = load_chunk(g.out + place * d + j);
          for (int x = 0; x < chunk; ++x) delta += a.x[x] * b.x[x];
        }
        g.delta[place] = delta;
      }
      deltas[i] = delta;
      sums_of[i] = i < count ? c.logsumexp[view.place(static_cast<int>(i))] : 0;
    });
    auto sums = block.keep(quads * chunks, Sums{});
    for (int first = view.begin(), end = view.end(count); first < end; first += tile) {
      const int seen = smaller(tile, end - first);
      walk(block, keys, values, tile, seen, d, [&](int i) { return view.rows(first + i); });
      block.sync();
      block.each(tile * quads, [&](int64_t i) {
        const int key = static_cast<int>(i) % tile, row = static_cast<int>(i) / tile * quad;
        const Four s = dots(held + row * d, keys + key * padded<T>(d), d),
                   d_p = dots(slopes + row * d, values + key * padded<T>(d), d);
        Four ds;
        for (int r = 0; r < quad; ++r)
          ds.x[r] =
              key < seen && row + r < count && view.sees(row + r, first + key)
                  ? score_gradient(s.x[r], c.softcap, sums_of[row + r], d_p.x[r], deltas[row + r])
                        .ds
                  : 0;
        store_vec(weights + key * rows + row, ds);
      });
      block.sync();
      block.each(quads * chunks, [&](int64_t i) {
        const int column = static_cast<int>(i) % chunks * chunk,
                  row = static_cast<int>(i) / chunks * quad;
        for (int key = 0; key < seen; ++key)
          sums[i].add(load_vec<quad>(weights + key * rows + row),
                      keys + key * padded<T>(d) + column);
      });
      block.sync();
    }
    block.each(quads * chunks, [&](int64_t i) {
      const int column = static_cast<int>(i) % chunks * chunk,
                row = static_cast<int>(i) / chunks * quad;
      for (int r = 0; r < quad && row + r < count; ++r)
        store_chunk(g.d_q + view.place(row + r) * d + column, sums[i].row(r, c.scale));
    });
  }
};

// dK and dV of a tile of keys: loops over all segments that see it, one tile of queries at a time.
template <class T>
struct KeyGradientBlock {
  static constexpr int most_threads = tiles::threads;
  PackedGradientCuda<T> g;

  // Two tiles, keys and values, P and dS.
  static int64_t bytes(int held, int d) {
    const int tile = tiles::walked<T>(d);
    return 2 * static_cast<int64_t>(tile) * tiles::padded<T>(d) * static_cast<int64_t>(sizeof(T)) +
           4 * (static_cast<int64_t>(held) * 2 * (d + tile));
  }

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    using namespace tiles;
    const PackedCuda<T>& c = g.forward;
    const KeyTile t = c.plan.keys[block.index() / c.kv_heads];
    const int64_t kv = block.index() % c.kv_heads;
    const int d = static_cast<int>(c.d), tile = walked<T>(d), quads = ceil_div(t.rows, quad),
              rows = quads * quad, chunks = d / chunk;
    const int group = static_cast<int>(c.heads / c.kv_heads), window = static_cast<int>(c.window);
    T* const queries = block.template shared<T>();
    T* const slopes = queries + tile * padded<T>(d);
    float* const keys = reinterpret_cast<float*>(slopes + tile * padded<T>(d));  // [rows, d]
    float *const values = keys + rows * d, *const p = values + rows * d,
                 *const ds = p + tile * rows;  // [rows, d], [tile, rows] twice

    hold(block, keys, t.rows, d, c.scale,
         [&](int i) { return c.k + (t.row + i) * c.k_stride + kv * c.d; });
    hold(block, values, t.rows, d, 1,
         [&](int i) { return c.v + (t.row + i) * c.v_stride + kv * c.d; });
    auto d_k = block.keep(quads * chunks, Sums{});
    auto d_v = block.keep(quads * chunks, Sums{});
    for (int32_t n = t.first_viewer; n < t.first_viewer + t.viewers; ++n) {
      const Viewer viewer = c.plan.viewers[n];
      // Its rows that see a key of the tile: row + before − position is 0 … window−1.
      const int from = larger(0, t.position - viewer.before);
      const int to = window > 0
                         ? smaller(viewer.length, t.position + t.rows - 1 + window - viewer.before)
                         : viewer.length;
      for (int first = from * group; first < to * group; first += tile) {
        const int seen = smaller(tile, to * group - first);
        const auto place = [&](int i) {
          return (viewer.start + (first + i) / group) * c.heads + kv * group + (first + i) % group;
        };
        walk(block, queries, slopes, tile, seen, d, [&](int i) {
          const int64_t row = viewer.start + (first + i) / group,
                        head = kv * group + (first + i) % group;
          return Pair<T>{c.q + row * c.q_stride + head * c.d,
                         g.d_out + (row * c.heads + head) * c.d};
        });
        block.sync();
        block.each(tile * quads, [&](int64_t i) {
          const int query = static_cast<int>(i) % tile, row = static_cast<int>(i) / tile * quad;
          Four weights{}, gradients{};
          if (query < seen) {
            const Four s = dots(keys + row * d, queries + query * padded<T>(d), d),
                       d_p = dots(values + row * d, slopes + query * padded<T>(d), d);
            const float logsumexp = c.logsumexp[place(query)], delta = g.delta[place(query)];
            for (int r = 0; r < quad; ++r) {
              const int distance = viewer.before + (first + query) / group - t.position - row - r;
              if (row + r >= t.rows || distance < 0 || (window > 0 && distance >= window)) continue;
              const ScoreGradient gradient =
                  score_gradient(s.x[r], c.softcap, logsumexp, d_p.x[r], delta);
              weights.x[r] = gradient.p, gradients.x[r] = gradient.ds;
            }
          }
          store_vec(p + query * rows + row, weights);
          store_vec(ds + query * rows + row, gradients);
        });
        block.sync();
        block.each(quads * chunks, [&](int64_t i) {
          const int column = static_cast<int>(i) % chunks * chunk,
                    row = static_cast<int>(i) / chunks * quad;
          for (int query = 0; query < seen; ++query) {
            d_v[i].add(load_vec<quad>(p + query * rows + row),
                       slopes + query * padded<T>(d) + column);
            d_k[i].add(load_vec<quad>(ds + query * rows + row),
                       queries + query * padded<T>(d) + column);
          }
        });
        block.sync();
      }
    }
    block.each(quads * chunks, [&](int64_t i) {
      const int column = static_cast<int>(i) % chunks * chunk,
                row = static_cast<int>(i) / chunks * quad;
      for (int r = 0; r < quad && row + r < t.rows; ++r) {
        const int64_t at = ((t.row + row + r) * c.kv_heads + kv) * d + column;
        store_chunk(g.d_k + at, d_k[i].row(r, c.scale));
        store_chunk(g.d_v + at, d_v[i].row(r, 1));
      }
    });
  }
};

// Row r of the sums: rows sources[offsets[r]] … of a and of b, added in that order in fp32.
template <class T>
struct SumRowsBlock {
  SumRowsCuda<T> c;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t row = block.index();
    const int32_t first = c.offsets[row], last = c.offsets[row + 1];
    block.each(c.width / tiles::chunk, [&](int64_t i) {
      tiles::Chunk a{}, b{};
      for (int32_t n = first; n < last; ++n) {
        const int64_t at = c.sources[n] * c.width + i * tiles::chunk;
        const tiles::Chunk x = tiles::load_chunk(c.a + at), y = tiles::load_chunk(c.b + at);
        for (int j = 0; j < tiles::chunk; ++j) a.x[j] += x.x[j], b.x[j] += y.x[j];
      }
      tiles::store_chunk(c.sum_a + row * c.width + i * tiles::chunk, a);
      tiles::store_chunk(c.sum_b + row * c.width + i * tiles::chunk, b);
    });
  }
};

}  // namespace cream::ops
