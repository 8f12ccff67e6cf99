#include "ops/softcap/kernel.h"

#include "ops/simd.h"

namespace cream::ops {

template <>
void softcap_values<CREAM_LEVEL>(float* x, int64_t n, float c) {
  for (int64_t i = 0; i < n; i += 16) {
    const Mask m = first_lanes(n - i);
    store16(x + i, softcap16(load16(x + i, m), c), m);
  }
}

}  // namespace cream::ops
