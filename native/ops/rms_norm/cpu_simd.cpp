// y = round(x / sqrt(mean(x²) + eps)) · weight; with an offset to the weight, one rounding at the
// end. One pass for the mean and one to write; fp32 inside, rounded where the reference rounds. The
// mean uses four fixed partial sums, so a row's bits depend on that row alone.
#include "ops/rms_norm/kernel.h"

#include <cmath>

#include "ops/simd.h"

namespace cream::ops {
namespace {

// 1 / sqrt(mean(x²) + eps) of one row.
template <class T>
float inverse_of(const T* x, int64_t width, float eps) {
  Floats sum[4] = {zero16(), zero16(), zero16(), zero16()};
  int64_t i = 0;
  for (; i + 64 <= width; i += 64)
    for (int part = 0; part < 4; ++part) {
      const Floats v = load16(x + i + 16 * part);
      sum[part] = fma16(v, v, sum[part]);
    }
  for (; i < width; i += 16) {
    const Floats v = load16(x + i, first_lanes(width - i));
    sum[0] = fma16(v, v, sum[0]);
  }
  const float total = sum16(add16(add16(sum[0], sum[1]), add16(sum[2], sum[3])));
  return 1.0f / std::sqrt(total / static_cast<float>(width) + eps);
}

template <class T>
void rows_of(const T* x, const T* weight, T* y, int64_t rows, int64_t width, const RmsNorm& norm) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const Floats scale = set16(inverse_of(x, width, norm.eps));
    int64_t i;
    if (norm.offset != 0) {
      for (i = 0; i < width; i += 16) {
        const Mask m = first_lanes(width - i);
        const Floats factor = add16(set16(norm.offset), load16(weight + i, m));
        store16(y + i, mul16(mul16(load16(x + i, m), scale), factor), m);
      }
      continue;
    }
    for (i = 0; i < width; i += 16) {
      const Mask m = first_lanes(width - i);
      const Floats normed = rounded(x, mul16(load16(x + i, m), scale));
      store16(y + i, mul16(normed, load16(weight + i, m)), m);
    }
  }
}

void store_exactly(float* to, Floats v, Mask m) { store16(to, v, m); }
void store_exactly(uint16_t* to, Floats v, Mask m) { store_halves(to, exact_bf16(v), m); }

template <class T>
void add_rows_of(T* x, const T* residual, const T* weight, T* y, int64_t rows, int64_t width,
                 const RmsNorm& norm) {
  for (int64_t row = 0; row < rows; ++row, x += width, residual += width, y += width) {
    for (int64_t i = 0; i < width; i += 16) {
      const Mask m = first_lanes(width - i);
      store_exactly(x + i, add16(load16(x + i, m), load16(residual + i, m)), m);
    }
    rows_of<T>(x, weight, y, 1, width, norm);
  }
}

// With n = x·s and g = dy·(weight + offset): dx = s·(g − n·mean(g·n)), dweight = Σ dy·n. fp32
// inside.
template <class T>
void gradient_of(const T* x, const T* weight, const T* dy, T* dx, float* d_weight, int64_t rows,
                 int64_t width, const RmsNorm& norm) {
  const Floats offset = set16(norm.offset);
  for (int64_t row = 0; row < rows; ++row, x += width, dy += width, dx += width) {
    const Floats scale = set16(inverse_of(x, width, norm.eps));
    Floats sum = zero16();
    for (int64_t i = 0; i < width; i += 16) {
      const Mask m = first_lanes(width - i);
      const Floats slope = load16(dy + i, m), normed = mul16(load16(x + i, m), scale);
      sum = fma16(mul16(slope, add16(load16(weight + i, m), offset)), normed, sum);
      store16(d_weight + i, fma16(slope, normed, load16(d_weight + i, m)), m);
    }
    const Floats mean = set16(sum16(sum) / static_cast<float>(width));
    for (int64_t i = 0; i < width; i += 16) {
      const Mask m = first_lanes(width - i);
      const Floats slope = mul16(load16(dy + i, m), add16(load16(weight + i, m), offset));
      const Floats normed = mul16(load16(x + i, m), scale);
      store16(dx + i, mul16(scale, fnma16(normed, mean, slope)), m);
    }
  }
}

}  // namespace

template <>
void rms_norm_gradient_rows<CREAM_LEVEL>(const uint16_t* x, const uint16_t* weight,
                                         const uint16_t* dy, uint16_t* dx, float* d_weight,
                                         int64_t rows, int64_t width, const RmsNorm& norm) {
  gradient_of(x, weight, dy, dx, d_weight, rows, width, norm);
}
template <>
void rms_norm_gradient_rows<CREAM_LEVEL>(const float* x, const float* weight, const float* dy,
                                         float* dx, float* d_weight, int64_t rows, int64_t width,
                                         const RmsNorm& norm) {
  gradient_of(x, weight, dy, dx, d_weight, rows, width, norm);
}

template <>
void add_rms_norm_rows<CREAM_LEVEL>(uint16_t* x, const uint16_t* residual, const uint16_t* weight,
                                    uint16_t* y, int64_t rows, int64_t width, const RmsNorm& norm) {
  add_rows_of(x, residual, weight, y, rows, width, norm);
}
template <>
void add_rms_norm_rows<CREAM_LEVEL>(float* x, const float* residual, const float* weight, float* y,
                                    int64_t rows, int64_t width, const RmsNorm& norm) {
  add_rows_of(x, residual, weight, y, rows, width, norm);
}

template <>
void rms_norm_rows<CREAM_LEVEL>(const uint16_t* x, const uint16_t* weight, uint16_t* y,
                                int64_t rows, int64_t width, const RmsNorm& norm) {
  rows_of(x, weight, y, rows, width, norm);
}
template <>
void rms_norm_rows<CREAM_LEVEL>(const float* x, const float* weight, float* y, int64_t rows,
                                int64_t width, const RmsNorm& norm) {
  rows_of(x, weight, y, rows, width, norm);
}

}  // namespace cream::ops
