// AdamW, 16 parameters at a time. The order of operations is that of adamw_element, with separate
// multiply and add, so the bits are equal.
#include "ops/adamw/kernel.h"

#include "ops/simd.h"

namespace cream::ops {
template <>
void adamw_values<CREAM_LEVEL>(float* master, float* m, float* v, const float* gradient,
                               uint16_t* bf16, int64_t n, const AdamWScalars& s) {
  const Floats decay = set16(s.decay), one_minus_beta1 = set16(s.one_minus_beta1);
  const Floats beta2 = set16(s.beta2), one_minus_beta2 = set16(s.one_minus_beta2);
  const Floats step_size = set16(s.step_size), root_correction2 = set16(s.root_correction2);
  const Floats epsilon = set16(s.epsilon), scale = set16(s.gradient_scale);
  for (int64_t i = 0; i < n; i += 16) {
    const Floats g = mul16(load16(gradient + i), scale);
    const Floats old_m = load16(m + i);
    const Floats moment = add16(old_m, mul16(one_minus_beta1, sub16(g, old_m)));
    const Floats square = add16(mul16(load16(v + i), beta2), mul16(mul16(one_minus_beta2, g), g));
    const Floats denominator = add16(div16(sqrt16(square), root_correction2), epsilon);
    const Floats value =
        sub16(mul16(load16(master + i), decay), div16(mul16(step_size, moment), denominator));
    store16(m + i, moment);
    store16(v + i, square);
    store16(master + i, value);
    if (bf16 != nullptr) store_halves(bf16 + i, exact_bf16(value));
  }
}

template <>
double sum_of_squares_values<CREAM_LEVEL>(const float* x, int64_t n) {
  Doubles low = set8(0), high = set8(0);
  for (int64_t i = 0; i < n; i += 16) {
    const Doubles a = load8(x + i), b = load8(x + i + 8);
    low = add8(low, mul8(a, a));
    high = add8(high, mul8(b, b));
  }
  double lanes[16];
  store8(lanes, low);
  store8(lanes + 8, high);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace cream::ops
