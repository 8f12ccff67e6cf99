#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

struct RmsNorm {
  float eps, offset;  // offset: added to the weight, see op.h
};

// Rows of `width`, contiguous; bf16 as uint16_t.
template <Level L>
void rms_norm_rows(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows,
                   int64_t width, const RmsNorm& norm);
template <Level L>
void rms_norm_rows(const float* x, const float* weight, float* y, int64_t rows, int64_t width,
                   const RmsNorm& norm);

// The same of x + residual, which replaces x, rounded as ATen rounds.
template <Level L>
void add_rms_norm_rows(uint16_t* x, const uint16_t* residual, const uint16_t* weight, uint16_t* y,
                       int64_t rows, int64_t width, const RmsNorm& norm);
template <Level L>
void add_rms_norm_rows(float* x, const float* residual, const float* weight, float* y, int64_t rows,
                       int64_t width, const RmsNorm& norm);

// Gradients of the same rows: dx [rows, width], and Σ_rows dy·x/√(…) added to d_weight [width]
// fp32, row by row.
template <Level L>
void rms_norm_gradient_rows(const uint16_t* x, const uint16_t* weight, const uint16_t* dy,
                            uint16_t* dx, float* d_weight, int64_t rows, int64_t width,
                            const RmsNorm& norm);
template <Level L>
void rms_norm_gradient_rows(const float* x, const float* weight, const float* dy, float* dx,
                            float* d_weight, int64_t rows, int64_t width, const RmsNorm& norm);

}  // namespace cream::ops
