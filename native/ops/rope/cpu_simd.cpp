// y₁ = x₁·cos − x₂·sin, y₂ = x₂·cos + x₁·sin on the two halves of each head's first rotary_dim
// entries; fp32 inside, rounded once.
#include "ops/rope/kernel.h"

#include "ops/simd.h"

namespace cream::ops {
namespace {

template <bool Back, class T>
void rows_of(const T* x, const float* cos, const float* sin, T* to, const RopeShape& s) {
  const int64_t half = s.rotary_dim / 2;
  const Floats sign = set16(Back ? -0.0f : 0.0f);
  for (int64_t row = 0; row < s.rows;
       ++row, x += s.x_stride, to += s.y_stride, cos += s.rotary_dim, sin += s.rotary_dim) {
    const float *sin_low = Back ? sin + half : sin, *sin_high = Back ? sin : sin + half;
    for (int64_t head = 0; head < s.heads; ++head) {
      const T* in = x + head * s.head_dim;
      T* y = to + head * s.head_dim;
      for (int64_t i = 0; i < half; i += 16) {
        const Mask m = first_lanes(half - i);
        const Floats low = load16(in + i, m), high = load16(in + half + i, m);
        // Multiply, multiply, add: unfused, so that fp32 gives the reference's bits.
        store16(
            y + i,
            sub16(mul16(low, load16(cos + i, m)), mul16(high, xor16(sign, load16(sin_low + i, m)))),
            m);
        store16(y + half + i,
                add16(mul16(high, load16(cos + half + i, m)),
                      mul16(low, xor16(sign, load16(sin_high + i, m)))),
                m);
      }
      for (int64_t i = s.rotary_dim; i < s.head_dim; i += 16) {
        const Mask m = first_lanes(s.head_dim - i);
        store16(y + i, load16(in + i, m), m);
      }
    }
  }
}

template <class T>
void either(const T* x, const float* cos, const float* sin, T* y, const RopeShape& s) {
  if (s.back)
    rows_of<true>(x, cos, sin, y, s);
  else
    rows_of<false>(x, cos, sin, y, s);
}

}  // namespace

template <>
void rope_rows<CREAM_LEVEL>(const uint16_t* x, const float* cos, const float* sin, uint16_t* y,
                            const RopeShape& shape) {
  either(x, cos, sin, y, shape);
}
template <>
void rope_rows<CREAM_LEVEL>(const float* x, const float* cos, const float* sin, float* y,
                            const RopeShape& shape) {
  either(x, cos, sin, y, shape);
}

}  // namespace cream::ops
