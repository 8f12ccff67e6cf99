// The dropout mask and thin products on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

#include "ops/linear/block.h"
#include "ops/linear/thin_block.h"

namespace cream::ops {

template <class T>
struct KeepMaskCuda {
  T* kept;  // [n]
  int64_t n;
  MaskStream stream;
};
int keep_mask_cuda(const KeepMaskCuda<uint16_t>& call, void* stream);
int keep_mask_cuda(const KeepMaskCuda<float>& call, void* stream);

// y [rows, out] = x [rows, in]·wᵀ, rows at most kThinRows, in a multiple of 8, x and w in bf16 with
// rows that allow 16-byte loads: thin_block.h.
int thin_product_cuda(const ThinBlock<uint16_t>& call, void* stream);
int thin_product_cuda(const ThinBlock<float>& call, void* stream);

}  // namespace cream::ops
