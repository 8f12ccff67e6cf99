// The dropout mask on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

#include "ops/linear/block.h"

namespace cream::ops {

template <class T>
struct KeepMaskCuda {
  T* kept;  // [n]
  int64_t n;
  MaskStream stream;
};
int keep_mask_cuda(const KeepMaskCuda<uint16_t>& call, void* stream);
int keep_mask_cuda(const KeepMaskCuda<float>& call, void* stream);

}  // namespace cream::ops
