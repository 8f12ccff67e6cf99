// The gradient kernel of packed attention; raw pointers only, bf16 as uint16_t.
#pragma once

#include <cstdint>

#include "ops/attention/kernel.h"

namespace cream::ops::attend {

// Consecutive rows of a segment of the batch.
struct Stretch {
  int64_t start, length;
};

// One prompt with its completions, and one kv head with its `group` query heads. Pointers are to
// the batch's first row and this head's first value; rows are `…_stride` values apart, the query
// heads of a row head_dim apart.
template <class T>
struct Gradient {
  const Stretch* segments;  // the prompt, then its completions, which attend to themselves causally
                            // and to all of the prompt
  int64_t count;
  const T *q, *k, *v, *d_out;
  T *dq, *dk, *dv;  // written, every row of the segments
  int64_t q_stride, k_stride, v_stride, d_out_stride, dq_stride, dk_stride, dv_stride;
  int64_t group, d;      // d: a multiple of 16, at most 256
  float scale, softcap;  // softcap 0: none
  int64_t window;        // 0: none
};

template <Level L, class T>
int64_t gradient_scratch_floats(const Gradient<T>& task);
template <Level L, class T>
void gradient(const Gradient<T>& task, float* scratch);

}  // namespace cream::ops::attend
