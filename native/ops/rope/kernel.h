#pragma once

#include <cstdint>

namespace cream::ops {

// x: rows `row_stride` apart, heads of head_dim contiguous; cos, sin [rows, turned] fp32; y [rows, heads, head_dim]. bf16 as uint16_t.
struct RopeShape {
  int64_t rows, heads, head_dim, turned, row_stride;
};
void rope_avx512(const uint16_t* x, const float* cos, const float* sin, uint16_t* y, const RopeShape& shape);
void rope_avx512(const float* x, const float* cos, const float* sin, float* y, const RopeShape& shape);

}  // namespace cream::ops
