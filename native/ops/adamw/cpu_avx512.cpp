// AdamW, 16 parameters at a time. The order of operations is adamw_element's, multiply and add apart, so the bits are equal.
#if defined(__x86_64__)
#include <immintrin.h>

#include "ops/adamw/kernel.h"

namespace cream::ops {
namespace {

// Round to nearest even as c10::BFloat16 does; vcvtneps2bf16 would flush subnormals to zero.
inline __m256i round_to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7FC0)));
}

}  // namespace

void adamw_avx512(float* master, float* m, float* v, const float* gradient, uint16_t* bf16, int64_t n, const AdamWScalars& s) {
  const __m512 decay = _mm512_set1_ps(s.decay), one_minus_beta1 = _mm512_set1_ps(s.one_minus_beta1);
  const __m512 beta2 = _mm512_set1_ps(s.beta2), one_minus_beta2 = _mm512_set1_ps(s.one_minus_beta2);
  const __m512 step_size = _mm512_set1_ps(s.step_size), root_correction2 = _mm512_set1_ps(s.root_correction2);
  const __m512 epsilon = _mm512_set1_ps(s.epsilon), scale = _mm512_set1_ps(s.gradient_scale);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 g = _mm512_mul_ps(_mm512_loadu_ps(gradient + i), scale);
    const __m512 old_m = _mm512_loadu_ps(m + i);
    const __m512 moment = _mm512_add_ps(old_m, _mm512_mul_ps(one_minus_beta1, _mm512_sub_ps(g, old_m)));
    const __m512 square = _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(v + i), beta2),
                                        _mm512_mul_ps(_mm512_mul_ps(one_minus_beta2, g), g));
    const __m512 denominator = _mm512_add_ps(_mm512_div_ps(_mm512_sqrt_ps(square), root_correction2), epsilon);
    const __m512 value = _mm512_sub_ps(_mm512_mul_ps(_mm512_loadu_ps(master + i), decay),
                                       _mm512_div_ps(_mm512_mul_ps(step_size, moment), denominator));
    _mm512_storeu_ps(m + i, moment);
    _mm512_storeu_ps(v + i, square);
    _mm512_storeu_ps(master + i, value);
    if (bf16 != nullptr) _mm256_storeu_si256(reinterpret_cast<__m256i*>(bf16 + i), round_to_bf16(value));
  }
}

double sum_of_squares_avx512(const float* x, int64_t n) {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  for (int64_t i = 0; i < n; i += 16) {
    const __m512d a = _mm512_cvtps_pd(_mm256_loadu_ps(x + i)), b = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8));
    low = _mm512_add_pd(low, _mm512_mul_pd(a, a));
    high = _mm512_add_pd(high, _mm512_mul_pd(b, b));
  }
  double lanes[16];
  _mm512_storeu_pd(lanes, low);
  _mm512_storeu_pd(lanes + 8, high);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace cream::ops
#endif
