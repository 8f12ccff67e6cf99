// AdamW on one element: the arithmetic of op.h for all fused implementations; and the sum of squares for clipping.
#pragma once

#include <cmath>

#include "support/block.h"

namespace cream::ops {

// The step's constants, made once on the host in double.
struct AdamWConstants {
  float decay;              // 1 − lr·λ
  float keep1, keep2;       // β1, β2
  float take1, take2;       // 1 − β1, 1 − β2
  float inverse_root;       // 1 / √(1 − β2ᵗ)
  float epsilon;
  float rate;               // lr / (1 − β1ᵗ)
};

CREAM_HOST_DEVICE inline float adamw_element(float master, float& m, float& v, float g, const AdamWConstants& c) {
  master *= c.decay;
  m = m + c.take1 * (g - m);
  v = c.keep2 * v + c.take2 * g * g;
  return master - c.rate * m / (sqrtf(v) * c.inverse_root + c.epsilon);
}

// A block takes `chunk` elements.
template <class T>
struct AdamWBlock {
  float *master, *m, *v;
  const float* gradient;
  const float* gradient_scale;  // one number in device memory: clipping is decided there, without a wait
  T* weight;                    // the compute copy; null where it is the master itself
  int64_t n, chunk;
  AdamWConstants constants;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, count = first + chunk < n ? chunk : n - first;
    block.each(count, [&](int64_t i) {
      const int64_t at = first + i;
      const float next = adamw_element(master[at], m[at], v[at], gradient[at] * *gradient_scale, constants);
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
