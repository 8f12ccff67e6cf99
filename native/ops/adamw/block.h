// AdamW over chunks of a tensor, and the sum of squares for clipping.
#pragma once

#include "ops/adamw/math.h"
#include "support/block.h"

namespace cream::ops {

// A block takes `chunk` elements.
template <class T>
struct AdamWBlock {
  float *master, *m, *v;
  const float* gradient;
  const float* gradient_scale;  // one number in device memory, for scalars.gradient_scale: clipping is decided there, without a wait
  T* weight;                    // the compute copy; null where it is the master itself
  int64_t n, chunk;
  AdamWScalars scalars;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, count = first + chunk < n ? chunk : n - first;
    AdamWScalars s = scalars;
    s.gradient_scale = *gradient_scale;
    block.each(count, [&](int64_t i) {
      const int64_t at = first + i;
      const float next = adamw_element(master[at], m[at], v[at], gradient[at], s);
      master[at] = next;
      if (weight != nullptr) weight[at] = narrow<T>(next);
    });
  }
};

// partial[block] = Σ x² of the block's chunk in fp64; the caller adds the partials in order.
struct SumOfSquaresBlock {
  const float* x;
  double* partial;
  int64_t n, chunk;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, count = first + chunk < n ? chunk : n - first;
    const double sum = block.reduce(count, 0.0, [&](int64_t i) { return static_cast<double>(x[first + i]) * x[first + i]; }, Sum{});
    block.each(1, [&](int64_t) { partial[block.index()] = sum; });
  }
};

}  // namespace cream::ops
