// y = x·Wᵀ in bf16 for at most 16 rows of x. Reading W takes nearly all of the time, so a block
// owns 16 rows of W and copies them several stages ahead of the products. The sum over the inputs
// has the order of support/warp.h, which is that of cuBLAS's kernels without split-K.
#pragma once

#include "support/block.h"

namespace cream::ops {

inline constexpr int kThinRows = 16;

// Out: uint16_t (bf16) or float.
template <class Out>
struct ThinBlock {
  static constexpr int most_threads = 128;
  static constexpr int columns = 16;             // of y, a block
  static constexpr int chunk = 256, stages = 5;  // inputs of a stage
  static constexpr int stride = chunk + 8;       // eight rows of a column are in different banks
  static constexpr int part = 64;                // inputs that a warp holds at once
  static constexpr int64_t shared_bytes = 2 * stages * columns * stride * 2;

  const uint16_t *x, *w;  // [rows, in], [out, in]
  Out* y;                 // [rows, out]
  int64_t x_stride, w_stride, y_stride;
  int32_t rows, in, out;  // in: a multiple of 8

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    using Warp = typename Block::Warp;
    const int32_t first = static_cast<int32_t>(block.index()) * columns;
    uint16_t* const memory = block.template shared<uint16_t>();
    const int steps = (in + chunk - 1) / chunk;
    const auto weights = [&](int step) { return memory + step % stages * 2 * columns * stride; };
    const auto load = [&](int step) {
      if (step < steps) fetch(block, weights(step), step * chunk, first);
      block.copies();
    };
    for (int step = 0; step < stages - 1; ++step) load(step);
    auto tile = block.keep_warps(typename Warp::template Tile<kThinRows>{});
    for (int step = 0; step < steps; ++step) {
      block.template await<stages - 2>();
      block.sync();
      load(step + stages - 1);
      block.each_warp([&](int warp) {
        if (warp != 0) return;
        const uint16_t* const at = weights(step);
        for (int k = 0; k < chunk; k += part)
          Warp::add_transposed(tile[warp], Warp::template left<part>(at + k, stride),
                               at + columns * stride + k, stride);
      });
    }
    block.each_warp([&](int warp) {
      if (warp != 0) return;
      Warp::each(tile[warp], [&](int column, int row, float value) {
        if (row < rows && first + column < out)
          y[row * y_stride + first + column] = narrow<Out>(value);
      });
    });
  }

 private:
  // Starts the copy of one stage, from input `begin` on: the block's rows of W, then those of x.
  template <class Block>
  CREAM_HOST_DEVICE void fetch(Block& block, uint16_t* to, int32_t begin, int32_t first) const {
    constexpr int chunks = chunk / 8;
    block.each((columns + kThinRows) * chunks, [&](int64_t i) {
      const int32_t r = static_cast<int32_t>(i) / chunks, c = static_cast<int32_t>(i) % chunks * 8,
                    row = r - columns;
      const uint16_t* from = nullptr;
      if (begin + c < in) {
        if (row < 0 && first + r < out)
          from = w + (first + r) * w_stride + begin + c;
        else if (row >= 0 && row < rows)
          from = x + row * x_stride + begin + c;
      }
      block.copy(to + r * stride + c, from);
    });
  }
};

}  // namespace cream::ops
