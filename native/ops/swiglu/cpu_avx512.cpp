// y = gate / (1 + exp(−gate)) · up, fp32 inside, silu rounded before the product as the reference rounds it.
#include "ops/swiglu/kernel.h"

#include "ops/avx512.h"

namespace cream::ops {
namespace {

template <class T>
void rows_of(const T* gate_up, T* y, int64_t rows, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f), limit = _mm512_set1_ps(88.0f);
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * n, y += n)
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 m = first_lanes(n - i);
      const __m512 gate = load16(gate_up + i, m);
      // Beyond 88 exp would overflow; there silu is 0 in every format.
      const __m512 decay = exp16(_mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), gate), limit));
      const __m512 silu = rounded(y, _mm512_div_ps(gate, _mm512_add_ps(one, decay)));
      store16(y + i, _mm512_mul_ps(silu, load16(gate_up + n + i, m)), m);
    }
}

}  // namespace

void swiglu_avx512(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t n) { rows_of(gate_up, y, rows, n); }
void swiglu_avx512(const float* gate_up, float* y, int64_t rows, int64_t n) { rows_of(gate_up, y, rows, n); }

}  // namespace cream::ops
