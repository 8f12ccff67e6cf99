// Inner loops of attention on a device, shared by decode, packed batches and their gradients.
//
//   forward   O = softmax(cap(scale·Q·Kᵀ))·V with a running maximum and sum (Milakov & Gimelshein
//             2018, Dao 2022)
//
// A block holds up to 32 rows (queries × the query heads of one kv head) as fp32 in shared memory
// and walks over the other rows one tile at a time. Products use register tiles of 4 held rows × 1
// walked row over all of d (scores), or × 8 columns over the walked rows (sums). A warp reads held
// rows at one address (a broadcast). Walked rows are padded by 16 bytes to an odd number of 16-byte
// words, so eight lanes reading eight rows hit all banks. With few held rows, the walked rows of a
// tile are divided among `slices`, each with its own softmax, which are joined in rising order at
// the end: their number affects the last bits of the result.
#pragma once

#include <cmath>

#include "support/block.h"

namespace cream::ops::tiles {

inline constexpr int threads = 128;
inline constexpr int quad = 4, chunk = 8;  // a register tile: held rows × columns
inline constexpr int most_walked = 64;     // rows of a tile

CREAM_HOST_DEVICE inline int smaller(int a, int b) { return a < b ? a : b; }
CREAM_HOST_DEVICE inline int larger(int a, int b) { return a > b ? a : b; }
CREAM_HOST_DEVICE inline int ceil_div(int n, int size) { return (n + size - 1) / size; }

// Rows that a block can hold: their sums take one register tile per thread.
CREAM_HOST_DEVICE inline int most_held(int d) { return smaller(32, threads / (d / chunk) * quad); }

// Rows of a tile: about 16 KB, a multiple of 16.
template <class T>
CREAM_HOST_DEVICE int walked(int d) {
  return larger(16, smaller(most_walked, 16384 / (d * static_cast<int>(sizeof(T))) / 16 * 16));
}

template <class T>
inline constexpr int vector = 16 / sizeof(T);  // values of one load

// A walked row takes this many values in shared memory.
template <class T>
CREAM_HOST_DEVICE int padded(int d) {
  return d + vector<T>;
}

struct Chunk {
  float x[chunk];
};
using Four = Vec<float, quad>;

template <class T>
CREAM_HOST_DEVICE Chunk load_chunk(const T* from) {
  Chunk out;
  for (int i = 0; i < chunk; i += vector<T>) {
    const Vec<T, vector<T>> v = load_vec<vector<T>>(from + i);
    for (int j = 0; j < vector<T>; ++j) out.x[i + j] = widen(v.x[j]);
  }
  return out;
}
template <class T>
CREAM_HOST_DEVICE void store_chunk(T* to, const Chunk& c) {
  for (int i = 0; i < chunk; i += vector<T>) {
    Vec<T, vector<T>> v;
    for (int j = 0; j < vector<T>; ++j) v.x[j] = narrow<T>(c.x[i + j]);
    store_vec(to + i, v);
  }
}
CREAM_HOST_DEVICE inline Chunk times(Chunk c, float factor) {
  for (int j = 0; j < chunk; ++j) c.x[j] *= factor;
  return c;
}

// Four held rows times one walked row.
template <class T>
CREAM_HOST_DEVICE Four dots(const float* held, const T* row, int d) {
  Four sum{};
  for (int c = 0; c < d; c += chunk) {
    const Chunk y = load_chunk(row + c);
    for (int r = 0; r < quad; ++r) {
      const Chunk x = load_chunk(held + r * d + c);
      for (int j = 0; j < chunk; ++j) sum.x[r] += x.x[j] * y.x[j];
    }
  }
  return sum;
}

// Sums over walked rows for four held rows and a chunk of columns.
struct Sums {
  float x[quad][chunk];

  CREAM_HOST_DEVICE void scale(const Four& factors) {
    for (int r = 0; r < quad; ++r)
      for (int j = 0; j < chunk; ++j) x[r][j] *= factors.x[r];
  }
  template <class T>
  CREAM_HOST_DEVICE void add(const Four& weights, const T* columns) {
    const Chunk y = load_chunk(columns);
    for (int r = 0; r < quad; ++r)
      for (int j = 0; j < chunk; ++j) x[r][j] += weights.x[r] * y.x[j];
  }
  CREAM_HOST_DEVICE Chunk row(int r, float factor) const {
    Chunk out;
    for (int j = 0; j < chunk; ++j) out.x[j] = x[r][j] * factor;
    return out;
  }
};

CREAM_HOST_DEVICE inline float capped(float score, float cap) {
  return cap > 0 ? cap * tanhf(score / cap) : score;
}

// A maximum and the sum of exp relative to it. Nothing seen yet: {−∞, 0}.
struct Running {
  float max, sum;
};

// Loads held rows as fp32, times `factor`, padded with zero rows to a multiple of four. row(i):
// address of row i.
template <class Block, class Row>
CREAM_HOST_DEVICE void hold(Block& block, float* to, int count, int d, float factor,
                            const Row& row) {
  const int chunks = d / chunk;
  block.each(ceil_div(count, quad) * quad * chunks, [&](int64_t i) {
    const int r = static_cast<int>(i) / chunks, c = static_cast<int>(i) % chunks * chunk;
    store_chunk(to + r * d + c, r < count ? times(load_chunk(row(r) + c), factor) : Chunk{});
  });
}

// Loads the walked rows of two matrices: `count` of `tile` rows, and zeros for the rest, because
// uninitialised memory may be NaN. row(i): offset of row i in both.
template <class T, class Block, class Row>
CREAM_HOST_DEVICE void walk(Block& block, T* to_a, T* to_b, int tile, int count, int d,
                            const Row& row) {
  const int vectors = d / vector<T>;
  block.each(tile * vectors, [&](int64_t i) {
    const int r = static_cast<int>(i) / vectors, c = static_cast<int>(i) % vectors * vector<T>;
    Vec<T, vector<T>> a{}, b{};
    if (r < count) {
      const auto [from_a, from_b] = row(r);
      a = load_vec<vector<T>>(from_a + c);
      b = load_vec<vector<T>>(from_b + c);
    }
    store_vec(to_a + r * padded<T>(d) + c, a);
    store_vec(to_b + r * padded<T>(d) + c, b);
  });
}

template <class T>
struct Pair {
  const T *a, *b;
};

// The maximum number of slices for `count` held rows: a slice needs one thread per register tile
// and one per row.
template <class T>
CREAM_HOST_DEVICE int most_slices(int count, int d) {
  const int quads = ceil_div(count, quad);
  return smaller(walked<T>(d), smaller(threads / (quads * (d / chunk)), threads / (quads * quad)));
}

// Shared memory of attend() for at most `count` held rows: two tiles, the queries, the scores, and
// the slices' factors and maxima. The slices' sums reuse the tiles' memory afterwards.
template <class T>
struct AttendMemory {
  int d, tile, rows, slices;

  CREAM_HOST_DEVICE AttendMemory(int count, int d, int slices)
      : d(d), tile(walked<T>(d)), rows(ceil_div(count, quad) * quad), slices(slices) {}
  CREAM_HOST_DEVICE int64_t tile_bytes() const {
    return static_cast<int64_t>(tile) * padded<T>(d) * static_cast<int64_t>(sizeof(T));
  }
  CREAM_HOST_DEVICE int64_t walked_bytes() const {
    const int64_t sums = static_cast<int64_t>(slices) * rows * d * 4;
    return 2 * tile_bytes() > sums ? 2 * tile_bytes() : sums;
  }
  CREAM_HOST_DEVICE int64_t bytes() const {
    return walked_bytes() + 4 * (static_cast<int64_t>(rows) * d + tile * rows + 2 * slices * rows);
  }
  // With the maximum number of slices, fewer rows may need more memory, so this is the bound over
  // all counts, for the launch.
  static int64_t most_bytes(int most, int d) {
    int64_t bytes = 0;
    for (int count = quad; count < most + quad; count += quad) {
      const int64_t own = AttendMemory(count, d, most_slices<T>(count, d)).bytes();
      bytes = own > bytes ? own : bytes;
    }
    return bytes;
  }
};

// `count` queries over keys begin … end−1. A view has
//   slices(count)      at most most_slices()
//   query(i)           address of query i
//   rows(position)     a key's and its value's addresses, a Pair
//   sees(i, position)  whether query i sees that key
//   write(i, column, sums, running)   a chunk of Σ exp(s − max)·v, to be divided by running.sum
template <class T, class Block, class View>
CREAM_HOST_DEVICE void attend(Block& block, const View& view, int count, int d, int begin, int end,
                              float scale, float softcap) {
  const AttendMemory<T> m(count, d, view.slices(count));
  const int rows = m.rows, quads = rows / quad, chunks = d / chunk, tile = m.tile,
            slices = m.slices;
  unsigned char* const memory = block.template shared<unsigned char>();
  T* const keys = reinterpret_cast<T*>(memory);
  T* const values = reinterpret_cast<T*>(memory + m.tile_bytes());
  float* const queries = reinterpret_cast<float*>(memory + m.walked_bytes());  // [rows, d]
  float* const scores = queries + rows * d;                                    // [tile, rows]
  float* const factors = scores + tile * rows;                                 // [slices, rows]
  float* const maxima = factors + slices * rows;                               // [slices, rows]

  block.sync();  // earlier reads of this block are done
  hold(block, queries, count, d, scale, [&](int i) { return view.query(i); });
  auto running = block.keep(slices * rows, Running{-INFINITY, 0});
  auto sums = block.keep(slices * quads * chunks, Sums{});
  for (int first = begin; first < end; first += tile) {
    const int seen = smaller(tile, end - first);
    walk(block, keys, values, tile, seen, d, [&](int i) { return view.rows(first + i); });
    block.sync();
    block.each(tile * quads, [&](int64_t i) {
      const int key = static_cast<int>(i) % tile, row = static_cast<int>(i) / tile * quad;
      Four s = dots(queries + row * d, keys + key * padded<T>(d), d);
      for (int r = 0; r < quad; ++r)
        s.x[r] = key < seen && row + r < count && view.sees(row + r, first + key)
                     ? capped(s.x[r], softcap)
                     : -INFINITY;
      store_vec(scores + key * rows + row, s);
    });
    block.sync();
    block.each(slices * rows, [&](int64_t i) {
      const int row = static_cast<int>(i) % rows, slice = static_cast<int>(i) / rows;
      float max = running[i].max;
      for (int key = slice; key < tile; key += slices) max = fmaxf(max, scores[key * rows + row]);
      factors[i] =
          running[i].max == -INFINITY ? 0 : expf(running[i].max - max);  // max is not −∞ then
      maxima[i] = running[i].max = max;
    });
    block.sync();
    block.each(tile * rows, [&](int64_t i) {
      const int row = static_cast<int>(i) % rows, slice = static_cast<int>(i) / rows % slices;
      scores[i] = scores[i] == -INFINITY ? 0 : expf(scores[i] - maxima[slice * rows + row]);
    });
    block.sync();
    block.each(slices * rows, [&](int64_t i) {
      const int row = static_cast<int>(i) % rows, slice = static_cast<int>(i) / rows;
      float sum = 0;
      for (int key = slice; key < tile; key += slices) sum += scores[key * rows + row];
      running[i].sum = running[i].sum * factors[i] + sum;
    });
    block.each(slices * quads * chunks, [&](int64_t i) {
      const int c = static_cast<int>(i) % chunks * chunk,
                row = static_cast<int>(i) / chunks % quads * quad,
                slice = static_cast<int>(i) / chunks / quads;
      Sums& s = sums[i];
      s.scale(load_vec<quad>(factors + slice * rows + row));
      for (int key = slice; key < seen; key += slices)
        s.add(load_vec<quad>(scores + key * rows + row), values + key * padded<T>(d) + c);
    });
    block.sync();
  }

  float* const joined = reinterpret_cast<float*>(memory);  // [slices, rows, d]
  float* const totals = factors;                           // [slices, rows]
  block.each(slices * rows, [&](int64_t i) {
    maxima[i] = running[i].max;
    totals[i] = running[i].sum;
  });
  block.each(slices * quads * chunks, [&](int64_t i) {
    const int c = static_cast<int>(i) % chunks * chunk,
              row = static_cast<int>(i) / chunks;  // of [slices, rows / 4]
    for (int r = 0; r < quad; ++r)
      store_chunk(joined + (row * quad + r) * d + c, sums[i].row(r, 1));
  });
  block.sync();
  block.each(count * chunks, [&](int64_t i) {
    const int row = static_cast<int>(i) / chunks, c = static_cast<int>(i) % chunks * chunk;
    Running all{-INFINITY, 0};
    for (int s = 0; s < slices; ++s) all.max = fmaxf(all.max, maxima[s * rows + row]);
    Chunk out{};
    for (int s = 0; s < slices; ++s) {
      const int at = s * rows + row;
      if (totals[at] == 0) continue;
      const float weight = expf(maxima[at] - all.max);
      const Chunk part = load_chunk(joined + at * d + c);
      for (int j = 0; j < chunk; ++j) out.x[j] += weight * part.x[j];
      all.sum += weight * totals[at];
    }
    view.write(row, c, out, all);
  });
}

}  // namespace cream::ops::tiles
