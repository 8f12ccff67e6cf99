#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

// x and y: strided rows with contiguous heads of head_dim; cos, sin [rows, rotary_dim] fp32. bf16
// as uint16_t. back: the gradient, which is the inverse rotation, dx₁ = dy₁·cos₁ + dy₂·sin₂, dx₂ =
// dy₂·cos₂ − dy₁·sin₁.
struct RopeShape {
  int64_t rows, heads, head_dim, rotary_dim, x_stride, y_stride;
  bool back = false;
};
template <Level L>
void rope_rows(const uint16_t* x, const float* cos, const float* sin, uint16_t* y,
               const RopeShape& shape);
template <Level L>
void rope_rows(const float* x, const float* cos, const float* sin, float* y,
               const RopeShape& shape);

}  // namespace cream::ops
