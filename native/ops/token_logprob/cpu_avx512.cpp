// Scaled softmax of one row of logits, 16 at a time.
// exp(x) = 2ⁿ · p(r), n = round(x / ln 2), r = x − n·ln 2 in two parts; p is the Taylor polynomial of degree 6 on |r| ≤ ln 2 / 2,
// whose remainder is below 2e-7.
#if defined(__x86_64__)
#include <immintrin.h>

#include "ops/token_logprob/kernel.h"

namespace cream::ops {
namespace {

inline __m512 exp_16(__m512 x) {
  // Below −104 exp is 0 in fp32. The bound comes first: with a NaN, max returns its second operand, and a NaN must survive.
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

inline __mmask16 tail_mask(int64_t left) { return left >= 16 ? __mmask16(0xFFFF) : static_cast<__mmask16>((1u << left) - 1); }

// out(j, mask, value) for every block of the row; the last block is masked.
template <class Store>
inline void each_softmax_block(const float* logits, int64_t vocab, float logsumexp, float scale, Store&& store) {
  const __m512 shift = _mm512_set1_ps(logsumexp), factor = _mm512_set1_ps(scale);
  for (int64_t j = 0; j < vocab; j += 16) {
    const __mmask16 mask = tail_mask(vocab - j);
    const __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, logits + j), shift);
    store(j, mask, _mm512_mul_ps(exp_16(x), factor));
  }
}

}  // namespace

bool has_nan_avx512(const float* logits, int64_t n) {
  unsigned found = 0;
  for (int64_t j = 0; j < n; j += 16) {
    const __m512 x = _mm512_maskz_loadu_ps(tail_mask(n - j), logits + j);
    found |= _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  }
  return found != 0;
}

void row_softmax_f32_avx512(const float* logits, float* out, int64_t vocab, float logsumexp, float scale) {
  each_softmax_block(logits, vocab, logsumexp, scale,
                     [out](int64_t j, __mmask16 mask, __m512 value) { _mm512_mask_storeu_ps(out + j, mask, value); });
}

void row_softmax_bf16_avx512(const float* logits, uint16_t* out, int64_t vocab, float logsumexp, float scale) {
  // Round to nearest even in integers: the values are finite or NaN-poisoned rows, which stay NaN (no carry out of 0x7FC0…).
  each_softmax_block(logits, vocab, logsumexp, scale, [out](int64_t j, __mmask16 mask, __m512 value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
    _mm256_mask_storeu_epi16(out + j, mask, _mm512_cvtepi32_epi16(rounded));
  });
}

}  // namespace cream::ops
#endif
