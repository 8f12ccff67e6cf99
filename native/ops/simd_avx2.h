// ops/simd.h on two AVX2 registers: lanes 0 … 7 and 8 … 15. Sums across lanes use the order of
// AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace cream::ops {
namespace {

struct Floats {
  __m256 low, high;
};
struct Words {  // 16 of 32 bits
  __m256i low, high;
};
struct Doubles {
  __m256d low, high;
};
struct Mask {  // all bits of a lane or none
  __m256i low, high;
};
using Mask8 = __m256i;

inline constexpr int registers_left = 16;

inline __m256i lanes8(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n < 0   ? 0
                                                                   : n > 8 ? 8
                                                                           : n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Mask first_lanes(int64_t n) { return {lanes8(n), lanes8(n - 8)}; }
inline uint32_t bits16(Mask m) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m.low))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m.high))) << 8;
}
inline Mask and16(Mask a, Mask b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
inline Mask without16(Mask a, Mask b) {
  return {_mm256_andnot_si256(b.low, a.low), _mm256_andnot_si256(b.high, a.high)};
}

inline Floats set16(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats zero16() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Floats add16(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Floats sub16(Floats a, Floats b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Floats mul16(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Floats div16(Floats a, Floats b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline Floats fma16(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}  // a·b + c
inline Floats fnma16(Floats a, Floats b, Floats c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}  // c − a·b
inline Floats max16(Floats a, Floats b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}  // b where one is NaN
inline Floats min16(Floats a, Floats b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline Floats sqrt16(Floats x) { return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)}; }
inline Floats or16(Floats a, Floats b) {
  return {_mm256_or_ps(a.low, b.low), _mm256_or_ps(a.high, b.high)};
}
inline Floats xor16(Floats a, Floats b) {
  return {_mm256_xor_ps(a.low, b.low), _mm256_xor_ps(a.high, b.high)};
}
inline Floats sign16(Floats x) {
  return {_mm256_and_ps(x.low, _mm256_set1_ps(-0.0f)),
          _mm256_and_ps(x.high, _mm256_set1_ps(-0.0f))};
}
inline Floats abs16(Floats x) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.low),
          _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.high)};
}
inline Floats round16(Floats x) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.low, nearest), _mm256_round_ps(x.high, nearest)};
}
inline float sum16(Floats x) {
  const __m256 eight = _mm256_add_ps(x.high, x.low);
  const __m128 four = _mm_add_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float top16(Floats x) {
  const __m256 eight = _mm256_max_ps(x.high, x.low);
  const __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline float lane0(Floats x) { return _mm256_cvtss_f32(x.low); }

template <int Predicate>
inline Mask compare16(Floats a, Floats b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.low, b.low, Predicate)),
          _mm256_castps_si256(_mm256_cmp_ps(a.high, b.high, Predicate))};
}
inline Mask at_least16(Floats a, Floats b) { return compare16<_CMP_GE_OQ>(a, b); }
inline Mask below16(Floats a, Floats b) { return compare16<_CMP_LT_OQ>(a, b); }
inline Mask equal16(Floats a, Floats b) { return compare16<_CMP_EQ_OQ>(a, b); }
inline Mask differs16(Floats a, Floats b) { return compare16<_CMP_NEQ_OQ>(a, b); }
inline Mask nan16(Floats x) { return compare16<_CMP_UNORD_Q>(x, x); }
inline Floats select16(Mask m, Floats yes, Floats no) {
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(m.low)),
          _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(m.high))};
}
inline Floats keep16(Mask m, Floats x) {  // 0 elsewhere
  return {_mm256_and_ps(_mm256_castsi256_ps(m.low), x.low),
          _mm256_and_ps(_mm256_castsi256_ps(m.high), x.high)};
}

inline Words set_words(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Words load_words(const void* p) {
  const auto* from = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
}
inline void store_words(void* p, Words x) {
  auto* to = static_cast<__m256i*>(p);
  _mm256_storeu_si256(to, x.low);
  _mm256_storeu_si256(to + 1, x.high);
}
inline void store_words(void* p, Words x, Mask m) {
  _mm256_maskstore_epi32(static_cast<int*>(p), m.low, x.low);
  _mm256_maskstore_epi32(static_cast<int*>(p) + 8, m.high, x.high);
}
inline Words add_words(Words a, Words b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Words sub_words(Words a, Words b) {
  return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
inline Words and16(Words a, Words b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
inline Words or16(Words a, Words b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
template <int N>
inline Words shift_left(Words x) {
  return {_mm256_slli_epi32(x.low, N), _mm256_slli_epi32(x.high, N)};
}
template <int N>
inline Words shift_right(Words x) {
  return {_mm256_srli_epi32(x.low, N), _mm256_srli_epi32(x.high, N)};
}
inline Floats floats_of(Words x) {
  return {_mm256_castsi256_ps(x.low), _mm256_castsi256_ps(x.high)};
}
inline Words words_of(Floats x) {
  return {_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)};
}
inline Words words_of_rounded(Floats x) {
  return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}
inline Words halved(Words x) { return {_mm256_srai_epi32(x.low, 1), _mm256_srai_epi32(x.high, 1)}; }
inline Floats power16(Words n) {
  return floats_of(shift_left<23>(add_words(n, set_words(127))));
}  // 2ⁿ

// 16 values of 16 bits, one per word; zeros beyond the mask.
inline Words load_halves(const uint16_t* p) {
  const auto* from = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(from)),
          _mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1))};
}
inline Words load_halves(const uint16_t* p, Mask m) {
  const uint32_t bits = bits16(m);
  if (bits == 0xffff) return load_halves(p);
  uint16_t part[16] = {};
  std::memcpy(part, p, static_cast<size_t>(__builtin_popcount(bits)) * sizeof(uint16_t));
  return load_halves(part);
}
inline void store_halves(uint16_t* p, Words x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_permute4x64_epi64(_mm256_packus_epi32(x.low, x.high), 0xd8));
}
inline void store_halves(uint16_t* p, Words x, Mask m) {
  const uint32_t bits = bits16(m);
  if (bits == 0xffff) return store_halves(p, x);
  uint16_t part[16];
  store_halves(part, x);
  std::memcpy(p, part, static_cast<size_t>(__builtin_popcount(bits)) * sizeof(uint16_t));
}

// fp32 → bf16, the 16 bits in each word, rounded to nearest even as VCVTNEPS2BF16 does: subnormals
// become 0, NaN stays.
inline Words bf16_bits(Floats v) {
  const Words bits = words_of(v), high = shift_right<16>(bits),
              exponent = and16(bits, set_words(0x7f800000));
  const Words rounded =
      shift_right<16>(add_words(bits, add_words(and16(high, set_words(1)), set_words(0x7fff))));
  const Mask small{_mm256_cmpeq_epi32(exponent.low, _mm256_setzero_si256()),
                   _mm256_cmpeq_epi32(exponent.high, _mm256_setzero_si256())};
  const Floats number =
      select16(small, floats_of(and16(high, set_words(0x8000))), floats_of(rounded));
  return words_of(select16(nan16(v), floats_of(or16(high, set_words(0x40))), number));
}

// 16 values as fp32; beyond the mask zeros, or the given values.
inline Floats load16(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline Floats load16(const float* p, Mask m) {
  return {_mm256_maskload_ps(p, m.low), _mm256_maskload_ps(p + 8, m.high)};
}
inline Floats load16(const float* p, Mask m, Floats beyond) {
  return select16(m, load16(p, m), beyond);
}
inline Floats load16(const uint16_t* p) { return floats_of(shift_left<16>(load_halves(p))); }
inline Floats load16(const uint16_t* p, Mask m) {
  return floats_of(shift_left<16>(load_halves(p, m)));
}
// fp32 → the stored type, rounded to nearest even.
inline void store16(float* p, Floats v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
inline void store16(float* p, Floats v, Mask m) {
  _mm256_maskstore_ps(p, m.low, v.low);
  _mm256_maskstore_ps(p + 8, m.high, v.high);
}
inline void store16(uint16_t* p, Floats v) { store_halves(p, bf16_bits(v)); }
inline void store16(uint16_t* p, Floats v, Mask m) { store_halves(p, bf16_bits(v), m); }

inline void turn8(__m256i (&r)[8]) {
  __m256i t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}
// Transposes 16 rows of 16 words.
inline void transpose16(Words (&r)[16]) {
  __m256i quarter[4][8];
  for (int i = 0; i < 8; ++i) {
    quarter[0][i] = r[i].low, quarter[1][i] = r[i].high;
    quarter[2][i] = r[i + 8].low, quarter[3][i] = r[i + 8].high;
  }
  for (auto& part : quarter) turn8(part);
  for (int i = 0; i < 8; ++i) {
    r[i] = {quarter[0][i], quarter[2][i]};
    r[i + 8] = {quarter[1][i], quarter[3][i]};
  }
}

inline Words interleave8(__m256i even, __m256i odd) {
  const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
  return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}
// Interleaves two rows of 32 halves into 32 words with one half of each.
inline void interleave(Words even, Words odd, Words& first, Words& second) {
  first = interleave8(even.low, odd.low);
  second = interleave8(even.high, odd.high);
}

inline Mask8 first_lanes8(int64_t n) { return lanes8(n); }
inline Doubles set8(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
inline Doubles widened8(__m256 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
inline Doubles load8(const float* p) { return widened8(_mm256_loadu_ps(p)); }
inline Doubles load8(const float* p, Mask8 m) { return widened8(_mm256_maskload_ps(p, m)); }
inline void store8(double* p, Doubles x) {
  _mm256_storeu_pd(p, x.low);
  _mm256_storeu_pd(p + 4, x.high);
}
inline Doubles add8(Doubles a, Doubles b) {
  return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
inline Doubles add8(Doubles a, Doubles b, Mask8 m) {  // a where the mask is 0
  const __m256d low = _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(m)));
  const __m256d high = _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(m, 1)));
  const Doubles sum = add8(a, b);
  return {_mm256_blendv_pd(a.low, sum.low, low), _mm256_blendv_pd(a.high, sum.high, high)};
}
inline Doubles sub8(Doubles a, Doubles b) {
  return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
}
inline Doubles mul8(Doubles a, Doubles b) {
  return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
}
inline Doubles fma8(Doubles a, Doubles b, Doubles c) {
  return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
}
inline Doubles fnma8(Doubles a, Doubles b, Doubles c) {
  return {_mm256_fnmadd_pd(a.low, b.low, c.low), _mm256_fnmadd_pd(a.high, b.high, c.high)};
}
inline Doubles round8(Doubles x) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_pd(x.low, nearest), _mm256_round_pd(x.high, nearest)};
}
inline double sum8(Doubles x) {
  const __m256d four = _mm256_add_pd(x.high, x.low);
  const __m128d two = _mm_add_pd(_mm256_extractf128_pd(four, 1), _mm256_castpd256_pd128(four));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline __m256d power4(__m256d n) {
  const __m256i whole = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
  return _mm256_castsi256_pd(
      _mm256_slli_epi64(_mm256_add_epi64(whole, _mm256_set1_epi64x(1023)), 52));
}
// p·2ⁿ where x ≥ bound, else 0.
inline Doubles scale8_from(Doubles x, double bound, Doubles p, Doubles n) {
  const __m256d from = _mm256_set1_pd(bound);
  return {
      _mm256_and_pd(_mm256_cmp_pd(x.low, from, _CMP_GE_OQ), _mm256_mul_pd(p.low, power4(n.low))),
      _mm256_and_pd(_mm256_cmp_pd(x.high, from, _CMP_GE_OQ),
                    _mm256_mul_pd(p.high, power4(n.high)))};
}

}  // namespace
}  // namespace cream::ops
