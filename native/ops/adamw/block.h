// AdamW over chunks of a tensor, in fp32 and with the small state forms, and the sum of squares for
// gradient clipping.
#pragma once

#include "ops/adamw/math.h"
#include "support/block.h"

namespace cream::ops {

// One block updates `chunk` elements.
template <class T>
struct AdamWBlock {
  float *master, *m, *v;
  const float* gradient;
  T* weight;  // the compute copy; null if master is the weight
  int64_t n, chunk;
  AdamWScalars scalars;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, count = first + chunk < n ? chunk : n - first;
    block.each(count, [&](int64_t i) {
      const int64_t at = first + i;
      const float next = adamw_element(master[at], m[at], v[at], gradient[at], scalars);
      master[at] = next;
      if (weight != nullptr) weight[at] = narrow<T>(next);
    });
  }
};

// One block updates kStateBlock elements. Their new moments stay in shared memory (kStateBlock·8
// bytes) until the scales are known.
struct AdamWFormsBlock {
  AdamWForms forms;
  AdamWScalars scalars;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * kStateBlock, rest = forms.n - first,
                  count = rest < kStateBlock ? rest : kStateBlock;
    float* const m = block.template shared<float>();
    float* const v = m + kStateBlock;
    block.each(count,
               [&](int64_t i) { adamw_forms_element(forms, first + i, scalars, m[i], v[i]); });
    block.sync();
    float m_scale = 0, v_scale = 0;
    if (forms.m_scale != nullptr) {
      m_scale = block.reduce(count, 0.0f, [&](int64_t i) { return fabsf(m[i]); }, Max{});
      v_scale = block.reduce(count, 0.0f, [&](int64_t i) { return v[i]; }, Max{});
      block.each(1, [&](int64_t) {
        forms.m_scale[block.index()] = m_scale;
        forms.v_scale[block.index()] = v_scale;
      });
    }
    block.each(count,
               [&](int64_t i) { store_moments(forms, first + i, m[i], v[i], m_scale, v_scale); });
  }
};

// partial[block] = Σ x² of the block's chunk in fp64; the caller adds the partial sums in order.
template <class T>
struct SumOfSquaresBlock {
  const T* x;
  double* partial;
  int64_t n, chunk;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() * chunk, count = first + chunk < n ? chunk : n - first;
    const double sum = block.reduce(
        count, 0.0,
        [&](int64_t i) {
          const double value = widen(x[first + i]);
          return value * value;
        },
        Sum{});
    block.each(1, [&](int64_t) { partial[block.index()] = sum; });
  }
};

}  // namespace cream::ops
