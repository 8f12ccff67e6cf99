// log Σ exp over a vocabulary in blocks of a fixed width. `sample` has a whole row of logits and
// `linear_logprob` one block at a time; both use these blocks, so a sampled token's log-prob and
// its scored log-prob have the same bits.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

inline constexpr int64_t softmax_block = 1024;  // columns; a whole number of packed panels
inline int64_t softmax_blocks(int64_t vocab) { return (vocab + softmax_block - 1) / softmax_block; }

struct BlockSum {
  float max, sum;  // of one block: max, Σ exp(x − max); NaN and 1 if it has a NaN
};

template <Level L>
BlockSum block_sum(const float* x, int64_t n);  // n ≤ softmax_block values

// Merged in rising block order, in double.
inline double log_sum_exp(const BlockSum* blocks, int64_t count) {
  double max = -INFINITY, sum = 0;
  for (int64_t i = 0; i < count; ++i) max = blocks[i].max > max ? blocks[i].max : max;
  for (int64_t i = 0; i < count; ++i)
    if (blocks[i].sum > 0) sum += blocks[i].sum * std::exp(blocks[i].max - max);
  return max + std::log(sum);
}

}  // namespace cream::ops
