// ops/simd.h on one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstdint>

// GCC 12 takes the deliberately undefined pass-through operand inside its own intrinsics for an
// uninitialised variable.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace cream::ops {
namespace {

using Floats = __m512;
using Words = __m512i;  // 16 of 32 bits
using Doubles = __m512d;
using Mask = __mmask16;
using Mask8 = __mmask8;

inline constexpr int registers_left = 32;

inline Mask first_lanes(int64_t n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<Mask>((1u << n) - 1);
}
inline uint32_t bits16(Mask m) { return m; }
inline Mask and16(Mask a, Mask b) { return a & b; }
inline Mask without16(Mask a, Mask b) { return static_cast<Mask>(a & ~b); }

inline Floats set16(float x) { return _mm512_set1_ps(x); }
inline Floats zero16() { return _mm512_setzero_ps(); }
inline Floats add16(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub16(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul16(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div16(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats fma16(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }    // a·b + c
inline Floats fnma16(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }  // c − a·b
inline Floats max16(Floats a, Floats b) { return _mm512_max_ps(a, b); }  // b where one is NaN
inline Floats min16(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats sqrt16(Floats x) { return _mm512_sqrt_ps(x); }
inline Floats abs16(Floats x) { return _mm512_abs_ps(x); }
inline Floats round16(Floats x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Floats or16(Floats a, Floats b) { return _mm512_or_ps(a, b); }
inline Floats xor16(Floats a, Floats b) { return _mm512_xor_ps(a, b); }
inline Floats sign16(Floats x) { return _mm512_and_ps(x, _mm512_set1_ps(-0.0f)); }
inline float sum16(Floats x) { return _mm512_reduce_add_ps(x); }
inline float top16(Floats x) { return _mm512_reduce_max_ps(x); }
inline float lane0(Floats x) { return _mm512_cvtss_f32(x); }

inline Mask at_least16(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline Mask below16(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Mask equal16(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline Mask differs16(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_OQ); }
inline Mask nan16(Floats x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
inline Floats select16(Mask m, Floats yes, Floats no) { return _mm512_mask_blend_ps(m, no, yes); }
inline Floats keep16(Mask m, Floats x) { return _mm512_maskz_mov_ps(m, x); }  // 0 elsewhere

inline Words set_words(int32_t x) { return _mm512_set1_epi32(x); }
inline Words load_words(const void* p) { return _mm512_loadu_si512(p); }
inline void store_words(void* p, Words x) { _mm512_storeu_si512(p, x); }
inline void store_words(void* p, Words x, Mask m) { _mm512_mask_storeu_epi32(p, m, x); }
inline Words add_words(Words a, Words b) { return _mm512_add_epi32(a, b); }
inline Words and16(Words a, Words b) { return _mm512_and_si512(a, b); }
inline Words or16(Words a, Words b) { return _mm512_or_si512(a, b); }
template <int N>
inline Words shift_left(Words x) {
  return _mm512_slli_epi32(x, N);
}
template <int N>
inline Words shift_right(Words x) {
  return _mm512_srli_epi32(x, N);
}
inline Floats floats_of(Words x) { return _mm512_castsi512_ps(x); }
inline Words words_of(Floats x) { return _mm512_castps_si512(x); }

// 16 values of 16 bits, one per word; zeros beyond the mask.
inline Words load_halves(const uint16_t* p, Mask m = 0xffff) {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
}
inline void store_halves(uint16_t* p, Words x, Mask m = 0xffff) {
  _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(x));
}

// fp32 → bf16, the 16 bits in each word, rounded to nearest even as VCVTNEPS2BF16 does: subnormals
// become 0, NaN stays.
inline Words bf16_bits(Floats v) {
#ifdef __AVX512BF16__
  return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
#else
  const Words bits = words_of(v), high = shift_right<16>(bits);
  Words rounded =
      shift_right<16>(add_words(bits, add_words(and16(high, set_words(1)), set_words(0x7fff))));
  rounded = _mm512_mask_mov_epi32(rounded, nan16(v), or16(high, set_words(0x40)));
  return _mm512_mask_mov_epi32(rounded, _mm512_testn_epi32_mask(bits, set_words(0x7f800000)),
                               and16(high, set_words(0x8000)));
#endif
}

// 16 values as fp32; beyond the mask zeros, or the given values.
inline Floats load16(const float* p) { return _mm512_loadu_ps(p); }
inline Floats load16(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
inline Floats load16(const float* p, Mask m, Floats beyond) {
  return _mm512_mask_loadu_ps(beyond, m, p);
}
inline Floats load16(const uint16_t* p, Mask m = 0xffff) {
  return floats_of(shift_left<16>(load_halves(p, m)));
}
// fp32 → the stored type, rounded to nearest even.
inline void store16(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline void store16(float* p, Floats v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
inline void store16(uint16_t* p, Floats v, Mask m = 0xffff) {
#ifdef __AVX512BF16__
  _mm256_mask_storeu_epi16(p, m, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
#else
  store_halves(p, bf16_bits(v), m);
#endif
}

// Transposes 16 rows of 16 words.
inline void transpose16(Words (&r)[16]) {
  Words t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// Interleaves two rows of 32 halves into 32 words with one half of each.
inline void interleave(Words even, Words odd, Words& first, Words& second) {
  alignas(64) static constexpr uint16_t order[64] = {
      0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
      11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
      22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  first = _mm512_permutex2var_epi16(even, load_words(order), odd);
  second = _mm512_permutex2var_epi16(even, load_words(order + 32), odd);
}

inline Mask8 first_lanes8(int64_t n) { return n >= 8 ? 0xff : static_cast<Mask8>((1u << n) - 1); }
inline Doubles set8(double x) { return _mm512_set1_pd(x); }
inline Doubles load8(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline Doubles load8(const float* p, Mask8 m) {
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(m, p));
}
inline void store8(double* p, Doubles x) { _mm512_storeu_pd(p, x); }
inline Doubles add8(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
inline Doubles add8(Doubles a, Doubles b, Mask8 m) {
  return _mm512_mask_add_pd(a, m, a, b);
}  // a where the mask is 0
inline Doubles sub8(Doubles a, Doubles b) { return _mm512_sub_pd(a, b); }
inline Doubles mul8(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
inline Doubles fma8(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
inline Doubles fnma8(Doubles a, Doubles b, Doubles c) { return _mm512_fnmadd_pd(a, b, c); }
inline Doubles round8(Doubles x) {
  return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline double sum8(Doubles x) { return _mm512_reduce_add_pd(x); }
// p·2ⁿ where x ≥ bound, else 0.
inline Doubles scale8_from(Doubles x, double bound, Doubles p, Doubles n) {
  return _mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(x, _mm512_set1_pd(bound), _CMP_GE_OQ), p, n);
}

}  // namespace
}  // namespace cream::ops
