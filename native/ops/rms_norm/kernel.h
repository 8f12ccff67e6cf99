#pragma once

#include <cstdint>

namespace cream::ops {

struct RmsNorm {
  float eps, offset;  // offset: added to the weight, see op.h
};

// Rows of `width`, contiguous; bf16 as uint16_t.
void rms_norm_avx512(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, const RmsNorm& norm);
void rms_norm_avx512(const float* x, const float* weight, float* y, int64_t rows, int64_t width, const RmsNorm& norm);

}  // namespace cream::ops
