#include "ops/softcap/kernel.h"

#include "ops/avx512.h"

namespace cream::ops {

void softcap_avx512(float* x, int64_t n, float c) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first_lanes(n - i);
    store16(x + i, softcap16(load16(x + i, m), c), m);
  }
}

}  // namespace cream::ops
