// AdamW and the sum of squares on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

#include "ops/adamw/kernel.h"

namespace cream::ops {

template <class T>
struct AdamWCuda {
  float *master, *m, *v;
  const float* gradient;
  T* weight;
  int64_t n;
  AdamWScalars scalars;
};
int adamw_cuda(const AdamWCuda<uint16_t>& call, void* stream);
int adamw_cuda(const AdamWCuda<float>& call, void* stream);

int adamw_forms_cuda(const AdamWForms& forms, const AdamWScalars& scalars, void* stream);

inline int64_t sum_of_squares_parts(int64_t n) { return (n + 65535) / 65536; }
// partial [sum_of_squares_parts(n)] fp64.
int sum_of_squares_cuda(const float* x, double* partial, int64_t n, void* stream);
int sum_of_squares_cuda(const uint16_t* x, double* partial, int64_t n, void* stream);  // bf16

}  // namespace cream::ops
