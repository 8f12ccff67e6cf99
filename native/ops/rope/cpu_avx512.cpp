// y₁ = x₁·cos − x₂·sin, y₂ = x₂·cos + x₁·sin on the two halves of what is turned of each head, fp32 inside, rounded once.
#include "ops/rope/kernel.h"

#include "ops/avx512.h"

namespace cream::ops {
namespace {

template <class T>
void rows_of(const T* x, const float* cos, const float* sin, T* y, const RopeShape& s) {
  const int64_t half = s.turned / 2;
  for (int64_t row = 0; row < s.rows; ++row, x += s.row_stride, cos += s.turned, sin += s.turned)
    for (int64_t head = 0; head < s.heads; ++head, y += s.head_dim) {
      const T* in = x + head * s.head_dim;
      for (int64_t i = 0; i < half; i += 16) {
        const __mmask16 m = first_lanes(half - i);
        const __m512 low = load16(in + i, m), high = load16(in + half + i, m);
        // Multiply, multiply, add: unfused, so that fp32 gives the reference's bits.
        store16(y + i, _mm512_sub_ps(_mm512_mul_ps(low, load16(cos + i, m)), _mm512_mul_ps(high, load16(sin + i, m))), m);
        store16(y + half + i, _mm512_add_ps(_mm512_mul_ps(high, load16(cos + half + i, m)), _mm512_mul_ps(low, load16(sin + half + i, m))), m);
      }
      for (int64_t i = s.turned; i < s.head_dim; i += 16) {
        const __mmask16 m = first_lanes(s.head_dim - i);
        store16(y + i, load16(in + i, m), m);
      }
    }
}

}  // namespace

void rope_avx512(const uint16_t* x, const float* cos, const float* sin, uint16_t* y, const RopeShape& shape) { rows_of(x, cos, sin, y, shape); }
void rope_avx512(const float* x, const float* cos, const float* sin, float* y, const RopeShape& shape) { rows_of(x, cos, sin, y, shape); }

}  // namespace cream::ops
