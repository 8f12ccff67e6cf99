// AdamW on one element, for the CPU's scalar loop and the GPU alike; formulas in op.h. Apart from kernel.h: files for one
// instruction set include no inline function.
#pragma once

#include <cmath>

#include "ops/adamw/kernel.h"
#include "support/host_device.h"

namespace cream::ops {

// Updates m and v in place and returns the new master.
CREAM_HOST_DEVICE inline float adamw_element(float master, float& m, float& v, float gradient, const AdamWScalars& s) {
  const float g = gradient * s.gradient_scale;
  m = m + s.one_minus_beta1 * (g - m);
  v = v * s.beta2 + s.one_minus_beta2 * g * g;
  const float denominator = sqrtf(v) / s.root_correction2 + s.epsilon;
  return master * s.decay - s.step_size * m / denominator;
}

}  // namespace cream::ops
