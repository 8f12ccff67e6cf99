#pragma once

#include <cstdint>

namespace cream::ops {

// x and y: rows a stride apart, heads of head_dim contiguous; cos, sin [rows, turned] fp32. bf16 as uint16_t.
// back: the gradient, which is the rotation back, dx₁ = dy₁·cos₁ + dy₂·sin₂, dx₂ = dy₂·cos₂ − dy₁·sin₁.
struct RopeShape {
  int64_t rows, heads, head_dim, turned, x_stride, y_stride;
  bool back = false;
};
void rope_avx512(const uint16_t* x, const float* cos, const float* sin, uint16_t* y, const RopeShape& shape);
void rope_avx512(const float* x, const float* cos, const float* sin, float* y, const RopeShape& shape);

}  // namespace cream::ops
