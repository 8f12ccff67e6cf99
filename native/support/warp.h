// Matrix products of one warp, 16 rows at a time, in bf16 with fp32 sums, for kernels written on
// support/block.h. HostWarp is the plain version, which one thread computes; DeviceWarp
// (support/warp_cuda.h) is the tensor cores' mma.sync m16n8k16. A kernel takes the type from its
// block: `typename Block::Warp`.
//
// Each sum runs over k in steps of 16, in rising order, from the value that the tile holds: on a
// GPU an element's bits depend on its row of the left matrix, its column of the right one and its
// old value alone, never on the other rows or on the number of columns.
#pragma once

#include <cmath>

#include "support/host_device.h"

namespace cream {

inline constexpr int kWarpRows = 16;

struct HostWarp {
  template <int N>
  struct Tile {  // [16, N] fp32
    float x[kWarpRows][N] = {};
  };
  template <int K>
  struct Left {  // [16, K] bf16
    uint16_t x[kWarpRows][K];
  };
  struct Rows {  // one value per row
    float x[kWarpRows];
  };

  static float exp2(float x) { return std::exp2(x); }
  static float multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
  static float multiply(float a, float b) { return a * b; }

  static Rows filled(float value) {
    Rows out;
    for (float& x : out.x) x = value;
    return out;
  }

  // Rows 0 … 15 of a bf16 matrix.
  template <int K>
  static Left<K> left(const uint16_t* from, int stride) {
    Left<K> out;
    for (int row = 0; row < kWarpRows; ++row)
      for (int k = 0; k < K; ++k) out.x[row][k] = from[row * stride + k];
    return out;
  }
  template <int K>
  static Left<K> rounded(const Tile<K>& tile) {
    Left<K> out;
    for (int row = 0; row < kWarpRows; ++row)
      for (int k = 0; k < K; ++k) out.x[row][k] = narrow<uint16_t>(tile.x[row][k]);
    return out;
  }

  // tile += left · rightᵀ, right [N, K].
  template <int N, int K>
  static void add_transposed(Tile<N>& tile, const Left<K>& left, const uint16_t* right,
                             int stride) {
    add(tile, left, [&](int k, int n) { return widen(right[n * stride + k]); });
  }
  // tile += left · right, right [K, N].
  template <int N, int K>
  static void add(Tile<N>& tile, const Left<K>& left, const uint16_t* right, int stride) {
    add(tile, left, [&](int k, int n) { return widen(right[k * stride + n]); });
  }
  // tile += the sums of the left matrix's rows, in every column.
  template <int K>
  static void add_row_sums(Tile<8>& tile, const Left<K>& left) {
    add(tile, left, [](int, int) { return 1.0f; });
  }

  // f(row, column, value) for every element.
  template <int N, class F>
  static void each(Tile<N>& tile, const F& f) {
    for (int row = 0; row < kWarpRows; ++row)
      for (int n = 0; n < N; ++n) f(row, n, tile.x[row][n]);
  }
  // f(row, column, value, next column's value) for every second column.
  template <int N, class F>
  static void each_pair(const Tile<N>& tile, const F& f) {
    for (int row = 0; row < kWarpRows; ++row)
      for (int n = 0; n < N; n += 2) f(row, n, tile.x[row][n], tile.x[row][n + 1]);
  }
  // f(row, value); on a GPU by four lanes with equal values.
  template <class F>
  static void each_row(Rows& rows, const F& f) {
    for (int row = 0; row < kWarpRows; ++row) f(row, rows.x[row]);
  }
  // f(value, the row's value in `rows`) for every element.
  template <int N, class F>
  static void with_rows(Tile<N>& tile, const Rows& rows, const F& f) {
    each(tile, [&](int row, int, float& x) { f(x, rows.x[row]); });
  }
  // f(value, the other tile's, the row's values in `a` and `b`) for every element.
  template <int N, class F>
  static void combine(Tile<N>& tile, const Tile<N>& other, const Rows& a, const Rows& b,
                      const F& f) {
    each(tile, [&](int row, int n, float& x) { f(x, other.x[row][n], a.x[row], b.x[row]); });
  }
  template <int N>
  static Rows row_max(const Tile<N>& tile) {
    Rows out = filled(-INFINITY);
    for (int row = 0; row < kWarpRows; ++row)
      for (int n = 0; n < N; ++n) out.x[row] = std::fmax(out.x[row], tile.x[row][n]);
    return out;
  }
  template <int N, int M>
  static Rows row_max(const Tile<N> (&tiles)[M]) {  // over all of the tiles
    Rows out = filled(-INFINITY);
    for (const Tile<N>& tile : tiles)
      out = joined(out, row_max(tile), [](float a, float b) { return std::fmax(a, b); });
    return out;
  }
  template <class F>
  static Rows joined(const Rows& a, const Rows& b, const F& f) {
    Rows out;
    for (int row = 0; row < kWarpRows; ++row) out.x[row] = f(a.x[row], b.x[row]);
    return out;
  }
  // The first column, as add_row_sums leaves it.
  static Rows column(const Tile<8>& tile) {
    Rows out;
    for (int row = 0; row < kWarpRows; ++row) out.x[row] = tile.x[row][0];
    return out;
  }

 private:
  template <int N, int K, class Right>
  static void add(Tile<N>& tile, const Left<K>& left, const Right& right) {
    for (int row = 0; row < kWarpRows; ++row)
      for (int n = 0; n < N; ++n)
        for (int k = 0; k < K; k += 16) {
          float sum = 0;
          for (int i = k; i < k + 16; ++i) sum += widen(left.x[row][i]) * right(i, n);
          tile.x[row][n] += sum;
        }
  }
};

}  // namespace cream
