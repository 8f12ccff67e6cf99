// y = round(x / sqrt(mean(x²) + eps)) · weight, one pass for the mean and one to write, or with an offset to the weight rounded once; fp32 inside, rounded where the reference rounds.
// The sum runs in four fixed partial sums, so a row's bits depend on the row alone.
#include "ops/rms_norm/kernel.h"

#include <cmath>

#include "ops/avx512.h"

namespace cream::ops {
namespace {

// 1 / sqrt(mean(x²) + eps) of one row.
template <class T>
float inverse_of(const T* x, int64_t width, float eps) {
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  int64_t i = 0;
  for (; i + 64 <= width; i += 64)
    for (int part = 0; part < 4; ++part) {
      const __m512 v = load16(x + i + 16 * part);
      sum[part] = _mm512_fmadd_ps(v, v, sum[part]);
    }
  for (; i < width; i += 16) {
    const __m512 v = load16(x + i, first_lanes(width - i));
    sum[0] = _mm512_fmadd_ps(v, v, sum[0]);
  }
  const float total = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
  return 1.0f / std::sqrt(total / static_cast<float>(width) + eps);
}

template <class T>
void rows_of(const T* x, const T* weight, T* y, int64_t rows, int64_t width, const RmsNorm& norm) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const __m512 scale = _mm512_set1_ps(inverse_of(x, width, norm.eps));
    int64_t i;
    if (norm.offset != 0) {
      for (i = 0; i < width; i += 16) {
        const __mmask16 m = first_lanes(width - i);
        const __m512 factor = _mm512_add_ps(_mm512_set1_ps(norm.offset), load16(weight + i, m));
        store16(y + i, _mm512_mul_ps(_mm512_mul_ps(load16(x + i, m), scale), factor), m);
      }
      continue;
    }
    for (i = 0; i < width; i += 16) {
      const __mmask16 m = first_lanes(width - i);
      const __m512 normed = rounded(x, _mm512_mul_ps(load16(x + i, m), scale));
      store16(y + i, _mm512_mul_ps(normed, load16(weight + i, m)), m);
    }
  }
}

// With n = x·s and g = dy·(weight + offset): dx = s·(g − n·mean(g·n)), dweight = Σ dy·n. fp32 inside.
template <class T>
void gradient_of(const T* x, const T* weight, const T* dy, T* dx, float* d_weight, int64_t rows, int64_t width, const RmsNorm& norm) {
  const __m512 offset = _mm512_set1_ps(norm.offset);
  for (int64_t row = 0; row < rows; ++row, x += width, dy += width, dx += width) {
    const __m512 scale = _mm512_set1_ps(inverse_of(x, width, norm.eps));
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 m = first_lanes(width - i);
      const __m512 slope = load16(dy + i, m), normed = _mm512_mul_ps(load16(x + i, m), scale);
      sum = _mm512_fmadd_ps(_mm512_mul_ps(slope, _mm512_add_ps(load16(weight + i, m), offset)), normed, sum);
      _mm512_mask_storeu_ps(d_weight + i, m, _mm512_fmadd_ps(slope, normed, load16(d_weight + i, m)));
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(width));
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 m = first_lanes(width - i);
      const __m512 slope = _mm512_mul_ps(load16(dy + i, m), _mm512_add_ps(load16(weight + i, m), offset));
      const __m512 normed = _mm512_mul_ps(load16(x + i, m), scale);
      store16(dx + i, _mm512_mul_ps(scale, _mm512_fnmadd_ps(normed, mean, slope)), m);
    }
  }
}

}  // namespace

void rms_norm_gradient_avx512(const uint16_t* x, const uint16_t* weight, const uint16_t* dy, uint16_t* dx, float* d_weight, int64_t rows,
                              int64_t width, const RmsNorm& norm) {
  gradient_of(x, weight, dy, dx, d_weight, rows, width, norm);
}
void rms_norm_gradient_avx512(const float* x, const float* weight, const float* dy, float* dx, float* d_weight, int64_t rows, int64_t width,
                              const RmsNorm& norm) {
  gradient_of(x, weight, dy, dx, d_weight, rows, width, norm);
}

void rms_norm_avx512(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, const RmsNorm& norm) {
  rows_of(x, weight, y, rows, width, norm);
}
void rms_norm_avx512(const float* x, const float* weight, float* y, int64_t rows, int64_t width, const RmsNorm& norm) {
  rows_of(x, weight, y, rows, width, norm);
}

}  // namespace cream::ops
