#include "ops/sample/kernel.h"

#include "ops/avx512.h"

namespace cream::ops {

Peak peak_avx512(const float* logits, int64_t vocab) {
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
  __m512 high = _mm512_set1_ps(minus_infinity);
  __mmask16 nan = 0;
  for (int64_t i = 0; i < vocab; i += 16) {
    const __m512 x = _mm512_mask_loadu_ps(_mm512_set1_ps(minus_infinity), first_lanes(vocab - i), logits + i);
    nan |= _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    high = _mm512_max_ps(high, x);
  }
  Peak peak{_mm512_reduce_max_ps(high), 0, nan != 0};
  const __m512 target = _mm512_set1_ps(peak.logit);
  for (int64_t i = 0; i < vocab; i += 16) {
    const __mmask16 lanes = first_lanes(vocab - i);
    const uint32_t hit = _mm512_mask_cmp_ps_mask(lanes, load16(logits + i, lanes), target, _CMP_EQ_OQ);
    if (hit) {
      peak.id = i + __builtin_ctz(hit);
      break;
    }
  }
  return peak;
}

double weight_sum_avx512(const float* logits, int64_t vocab, double max, double inverse_temperature) {
  const __m512d m = _mm512_set1_pd(max), scale = _mm512_set1_pd(inverse_temperature);
  const auto weight = [&](__m256 x) { return exp8(_mm512_mul_pd(_mm512_sub_pd(_mm512_cvtps_pd(x), m), scale)); };
  __m512d sum = _mm512_setzero_pd(), sum1 = sum;
  int64_t i = 0;
  for (; i + 16 <= vocab; i += 16) {
    sum = _mm512_add_pd(sum, weight(_mm256_loadu_ps(logits + i)));
    sum1 = _mm512_add_pd(sum1, weight(_mm256_loadu_ps(logits + i + 8)));
  }
  for (; i < vocab; i += 8) {
    const __mmask8 lanes = vocab - i >= 8 ? 0xff : static_cast<__mmask8>((1u << (vocab - i)) - 1);
    sum = _mm512_mask_add_pd(sum, lanes, sum, weight(_mm256_maskz_loadu_ps(lanes, logits + i)));
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(sum, sum1));
}

int64_t collect_avx512(const float* logits, int64_t vocab, float low, float high, uint64_t* keys) {
  int64_t count = 0;
  const __m512 from = _mm512_set1_ps(low), to = _mm512_set1_ps(high);
  for (int64_t i = 0; i < vocab; i += 16) {
    const __mmask16 lanes = first_lanes(vocab - i);
    const __m512 x = load16(logits + i, lanes);
    uint32_t hit = _mm512_mask_cmp_ps_mask(_mm512_mask_cmp_ps_mask(lanes, x, from, _CMP_GE_OQ), x, to, _CMP_LT_OQ);
    for (; hit; hit &= hit - 1) {
      const int64_t id = i + __builtin_ctz(hit);
      keys[count++] = sort_key(logits[id], static_cast<uint32_t>(id));
    }
  }
  return count;
}

}  // namespace cream::ops
