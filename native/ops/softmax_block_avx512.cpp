// max and Σ exp(x − max) of a block, in fp32. Two accumulators in a fixed order: the result depends on the values alone.
#include "ops/softmax_block.h"

#include "ops/avx512.h"

namespace cream::ops {

BlockSum block_sum_avx512(const float* x, int64_t n) {
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
  __m512 high = _mm512_set1_ps(minus_infinity), high1 = high;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    high = _mm512_max_ps(high, load16(x + i));
    high1 = _mm512_max_ps(high1, load16(x + i + 16));
  }
  for (; i < n; i += 16) high = _mm512_mask_max_ps(high, first_lanes(n - i), high, load16(x + i, first_lanes(n - i)));
  const float max = _mm512_reduce_max_ps(_mm512_max_ps(high, high1));
  if (max == minus_infinity) return {max, 0};

  const __m512 m = _mm512_set1_ps(max);
  __m512 sum = _mm512_setzero_ps(), sum1 = sum;
  for (i = 0; i + 32 <= n; i += 32) {
    sum = _mm512_add_ps(sum, exp16(_mm512_sub_ps(load16(x + i), m)));
    sum1 = _mm512_add_ps(sum1, exp16(_mm512_sub_ps(load16(x + i + 16), m)));
  }
  for (; i < n; i += 16) {
    const __mmask16 lanes = first_lanes(n - i);
    sum = _mm512_mask_add_ps(sum, lanes, sum, exp16(_mm512_sub_ps(load16(x + i, lanes), m)));
  }
  return {max, _mm512_reduce_add_ps(_mm512_add_ps(sum, sum1))};
}

}  // namespace cream::ops
