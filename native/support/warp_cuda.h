// The CUDA implementation of support/warp.h on the tensor cores. Lane l of a warp holds, of each 8
// columns of a tile, rows l / 4 and l / 4 + 8 at columns l % 4 · 2 and the next (PTX ISA, "Matrix
// fragments for mma.m16n8k16").
#pragma once

#include "support/warp.h"

namespace cream {

struct DeviceWarp {
  template <int N>
  struct Tile {
    float x[N / 8][4] = {};
  };
  template <int K>
  struct Left {
    uint32_t x[K / 16][4];
  };
  struct Rows {
    float x[2];  // rows l / 4 and l / 4 + 8
  };

  __device__ static float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  // Not left to the compiler: two kernels must round alike.
  __device__ static float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
  __device__ static float multiply(float a, float b) { return __fmul_rn(a, b); }

  __device__ static Rows filled(float value) { return {{value, value}}; }

  template <int K>
  __device__ static Left<K> left(const uint16_t* from, int stride) {
    Left<K> out;
    const uint16_t* const at = from + lane() % 16 * stride + lane() / 16 * 8;
#pragma unroll
    for (int k = 0; k < K / 16; ++k) load(out.x[k], at + 16 * k);
    return out;
  }
  template <int K>
  __device__ static Left<K> rounded(const Tile<K>& tile) {
    Left<K> out;
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        const float* const from = tile.x[2 * k + part / 2] + part % 2 * 2;
        out.x[k][part] = pair(from[0], from[1]);
      }
    return out;
  }

  template <int N, int K>
  __device__ static void add_transposed(Tile<N>& tile, const Left<K>& left, const uint16_t* right,
                                        int stride) {
    const uint16_t* const at = right + (lane() / 16 * 8 + lane() % 8) * stride + lane() / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
#pragma unroll
      for (int n = 0; n < N / 16; ++n) {
        uint32_t two[4];  // columns n … n+7 in the first two, n+8 … n+15 in the others
        load(two, at + 16 * n * stride + 16 * k);
        multiply(tile.x[2 * n], left.x[k], two[0], two[1]);
        multiply(tile.x[2 * n + 1], left.x[k], two[2], two[3]);
      }
  }
  template <int N, int K>
  __device__ static void add(Tile<N>& tile, const Left<K>& left, const uint16_t* right,
                             int stride) {
    const uint16_t* const at = right + (lane() / 8 % 2 * 8 + lane() % 8) * stride + lane() / 16 * 8;
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
#pragma unroll
      for (int n = 0; n < N / 16; ++n) {
        uint32_t two[4];
        load_transposed(two, at + 16 * k * stride + 16 * n);
        multiply(tile.x[2 * n], left.x[k], two[0], two[1]);
        multiply(tile.x[2 * n + 1], left.x[k], two[2], two[3]);
      }
  }
  template <int K>
  __device__ static void add_row_sums(Tile<8>& tile, const Left<K>& left) {
    constexpr uint32_t ones = 0x3f803f80;
#pragma unroll
    for (int k = 0; k < K / 16; ++k) multiply(tile.x[0], left.x[k], ones, ones);
  }

  template <int N, class F>
  __device__ static void each(Tile<N>& tile, const F& f) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        f(lane() / 4 + i / 2 * 8, 8 * n + lane() % 4 * 2 + i % 2, tile.x[n][i]);
  }
  template <int N, class F>
  __device__ static void each_pair(const Tile<N>& tile, const F& f) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; i += 2)
        f(lane() / 4 + i / 2 * 8, 8 * n + lane() % 4 * 2, tile.x[n][i], tile.x[n][i + 1]);
  }
  template <class F>
  __device__ static void each_row(Rows& rows, const F& f) {
    f(lane() / 4, rows.x[0]);
    f(lane() / 4 + 8, rows.x[1]);
  }
  template <int N, class F>
  __device__ static void with_rows(Tile<N>& tile, const Rows& rows, const F& f) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(tile.x[n][i], rows.x[i / 2]);
  }
  template <int N, class F>
  __device__ static void combine(Tile<N>& tile, const Tile<N>& other, const Rows& a, const Rows& b,
                                 const F& f) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(tile.x[n][i], other.x[n][i], a.x[i / 2], b.x[i / 2]);
  }
  template <int N>
  __device__ static Rows row_max(const Tile<N>& tile) {
    return over_lanes(raised(filled(-INFINITY), tile));
  }
  template <int N, int M>
  __device__ static Rows row_max(const Tile<N> (&tiles)[M]) {
    Rows out = filled(-INFINITY);
#pragma unroll
    for (int m = 0; m < M; ++m) out = raised(out, tiles[m]);
    return over_lanes(out);
  }
  template <class F>
  __device__ static Rows joined(const Rows& a, const Rows& b, const F& f) {
    return {{f(a.x[0], b.x[0]), f(a.x[1], b.x[1])}};
  }
  __device__ static Rows column(const Tile<8>& tile) { return {{tile.x[0][0], tile.x[0][2]}}; }

 private:
  // Row maxima: of the lane's own columns, then of all columns.
  template <int N>
  __device__ static Rows raised(Rows to, const Tile<N>& tile) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) to.x[i / 2] = fmaxf(to.x[i / 2], tile.x[n][i]);
    return to;
  }
  __device__ static Rows over_lanes(Rows of) {
#pragma unroll
    for (float& x : of.x) {
      x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
      x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
    }
    return of;
  }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static uint32_t pair(float low, float high) {
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
  }
  __device__ static uint32_t address(const void* shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  }
  // Four 8 × 8 matrices; lane l names row l % 8 of matrix l / 8.
  __device__ static void load(uint32_t (&to)[4], const uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address(row))
                 : "memory");
  }
  __device__ static void load_transposed(uint32_t (&to)[4], const uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address(row))
                 : "memory");
  }
  __device__ static void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};

}  // namespace cream
