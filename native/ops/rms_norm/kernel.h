#pragma once

#include <cstdint>

namespace cream::ops {

struct RmsNorm {
  float eps, offset;  // offset: added to the weight, see op.h
};

// Rows of `width`, contiguous; bf16 as uint16_t.
void rms_norm_avx512(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, const RmsNorm& norm);
void rms_norm_avx512(const float* x, const float* weight, float* y, int64_t rows, int64_t width, const RmsNorm& norm);


// Gradients of the same rows: dx [rows, width], and Σ_rows dy·x/√(…) added to d_weight [width] fp32, row by row.
void rms_norm_gradient_avx512(const uint16_t* x, const uint16_t* weight, const uint16_t* dy, uint16_t* dx, float* d_weight, int64_t rows,
                              int64_t width, const RmsNorm& norm);
void rms_norm_gradient_avx512(const float* x, const float* weight, const float* dy, float* dx, float* d_weight, int64_t rows, int64_t width,
                              const RmsNorm& norm);

}  // namespace cream::ops
