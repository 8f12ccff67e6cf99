// max and Σ exp(x − max) of a block in fp32, with two accumulators in a fixed order, so the result
// depends on the values alone.
#include "ops/softmax_block.h"

#include "ops/simd.h"

namespace cream::ops {

template <>
BlockSum block_sum<CREAM_LEVEL>(const float* x, int64_t n) {
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
  Floats high = set16(minus_infinity), high1 = high;
  uint32_t nan = 0;  // max16 does not keep it
  const auto greater = [&](Floats so_far, Floats values) {
    nan |= bits16(nan16(values));
    return max16(so_far, values);
  };
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    high = greater(high, load16(x + i));
    high1 = greater(high1, load16(x + i + 16));
  }
  for (; i < n; i += 16)
    high = greater(high, load16(x + i, first_lanes(n - i), set16(minus_infinity)));
  if (nan != 0) return {NAN, 1};
  const float max = top16(max16(high, high1));
  if (max == minus_infinity) return {max, 0};

  const Floats m = set16(max);
  Floats sum = zero16(), sum1 = sum;
  for (i = 0; i + 32 <= n; i += 32) {
    sum = add16(sum, exp16(sub16(load16(x + i), m)));
    sum1 = add16(sum1, exp16(sub16(load16(x + i + 16), m)));
  }
  for (; i < n; i += 16) {
    const Mask lanes = first_lanes(n - i);
    sum = add16(sum, keep16(lanes, exp16(sub16(load16(x + i, lanes), m))));
  }
  return {max, sum16(add16(sum, sum1))};
}

}  // namespace cream::ops
