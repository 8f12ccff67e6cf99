// Rotary embedding on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

namespace cream::ops {

template <class T>
struct RopeCuda {
  const T* x;
  const float *cos, *sin;
  T* y;
  int64_t rows, heads, d, stride;
  bool backward;
  int64_t rotary_dim, y_stride;
};
int rope_cuda(const RopeCuda<uint16_t>& call, void* stream);
int rope_cuda(const RopeCuda<float>& call, void* stream);

}  // namespace cream::ops
