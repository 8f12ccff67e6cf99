#pragma once

#include <cstdint>

namespace cream::ops {

void softcap_avx512(float* x, int64_t n, float c);  // n values, in place

}  // namespace cream::ops
