#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

template <Level L>
void softcap_values(float* x, int64_t n, float c);  // n values, in place

}  // namespace cream::ops
