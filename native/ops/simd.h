// 16 floats at once with one interface for every instruction set, used by the kernels of
// *_simd.cpp: one AVX-512 register or two AVX2 ones. All operations except the dot products of bf16
// pairs give the same bits in both. Never included together with a torch header. Everything is in
// an unnamed namespace on purpose: the linker might otherwise keep an inline function compiled with
// AVX-512 for a file meant for older CPUs.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <limits>

#include "ops/level.h"

#ifdef __AVX512F__
#include "ops/simd_avx512.h"
#else
#include "ops/simd_avx2.h"
#endif

namespace cream::ops {
namespace {

// The 64 bytes at p as words, of which `left` values of T may be read; zeros beyond.
template <class T>
inline Words load_part(const T* p, int64_t left) {
  constexpr int64_t all = 64 / sizeof(T);
  if (left >= all) return load_words(p);
  T part[all] = {};
  if (left > 0) std::memcpy(part, p, left * sizeof(T));
  return load_words(part);
}

// The two bf16 values of a word, as fp32.
inline Floats first_of_pair(Words w) { return floats_of(shift_left<16>(w)); }
inline Floats second_of_pair(Words w) {
  return floats_of(and16(w, set_words(static_cast<int32_t>(0xffff0000))));
}

// acc + q·k for one fp32 value, or for a pair of bf16 values in order: VDPBF16PS up to its
// rounding.
inline Floats multiply_add(Floats acc, int32_t query, Words key, const float*) {
  return fma16(floats_of(set_words(query)), floats_of(key), acc);
}
inline Floats multiply_add(Floats acc, int32_t query, Words key, const uint16_t*) {
#ifdef __AVX512BF16__
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(_mm512_set1_epi32(query)),
                          reinterpret_cast<__m512bh>(key));
#else
  const Words q = set_words(query);
  return fma16(second_of_pair(q), second_of_pair(key),
               fma16(first_of_pair(q), first_of_pair(key), acc));
#endif
}

// p·2ⁿ, rounded once as VSCALEFPS does, for n within ±250.
inline Floats scale16(Floats p, Floats n) {
#ifdef __AVX512F__
  return _mm512_scalef_ps(p, n);
#else
  const Words whole = words_of_rounded(n), half = halved(whole);
  return mul16(mul16(p, power16(half)), power16(sub_words(whole, half)));
#endif
}

// exp(x) within 2 ulp: 2^n · e^r with n = round(x·log₂e) and Cephes' polynomial for e^r. 0 below
// −87.3, for −inf and for NaN.
inline Floats exp16(Floats x) {
  const Floats n = round16(mul16(x, set16(1.44269504088896341f)));
  Floats r = fnma16(n, set16(0.693359375f), x);
  r = fnma16(n, set16(-2.12194440e-4f), r);
  Floats p = set16(1.9875691500e-4f);
  p = fma16(p, r, set16(1.3981999507e-3f));
  p = fma16(p, r, set16(8.3334519073e-3f));
  p = fma16(p, r, set16(4.1665795894e-2f));
  p = fma16(p, r, set16(1.6666665459e-1f));
  p = fma16(p, r, set16(5.0000001201e-1f));
  p = add16(fma16(mul16(p, r), r, r), set16(1.0f));
  return keep16(at_least16(x, set16(-87.3f)), scale16(p, n));
}

// tanh(x) within a few ulp: Cephes' odd polynomial below 0.625, 1 − 2/(e^{2|x|} + 1) with x's sign
// above.
inline Floats tanh16(Floats x) {
  const Floats one = set16(1.0f), size = abs16(x), square = mul16(x, x);
  Floats p = set16(-5.70498872745e-3f);
  p = fma16(p, square, set16(2.06390887954e-2f));
  p = fma16(p, square, set16(-5.37397155531e-2f));
  p = fma16(p, square, set16(1.33314422036e-1f));
  p = fma16(p, square, set16(-3.33332819422e-1f));
  const Floats small = fma16(mul16(p, square), x, x);
  const Floats grown = exp16(min16(add16(size, size), set16(60.0f)));
  const Floats large = sub16(one, div16(set16(2.0f), add16(grown, one)));
  return select16(at_least16(size, set16(0.625f)), or16(large, sign16(x)), small);
}
inline Floats softcap16(Floats x, float c) { return mul16(set16(c), tanh16(div16(x, set16(c)))); }

// exp(x) for x ≤ 0 in double; 0 below −708 and for −inf. Taylor to degree 11 on |r| ≤ ln2/2:
// relative error below 1e-14.
inline Doubles exp8(Doubles x) {
  const Doubles n = round8(mul8(x, set8(1.4426950408889634074)));
  Doubles r = fnma8(n, set8(6.93147180369123816490e-01), x);
  r = fnma8(n, set8(1.90821492927058770002e-10), r);
  constexpr double coefficients[] = {
      1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
      1.0 / 24.0,      1.0 / 6.0,      0.5,           1.0,          1.0};
  Doubles p = set8(1.0 / 39916800.0);
#pragma GCC unroll 11
  for (const double c : coefficients) p = fma8(p, r, set8(c));
  return scale8_from(x, -708.0, p, n);
}

// fp32 → bf16, the 16 bits in each word, rounded to nearest even as c10::BFloat16 does: subnormals
// stay, NaN is 0x7fc0.
inline Words exact_bf16(Floats x) {
  const Words bits = words_of(x);
  const Words rounded = shift_right<16>(
      add_words(bits, add_words(and16(shift_right<16>(bits), set_words(1)), set_words(0x7fff))));
  return words_of(select16(nan16(x), floats_of(set_words(0x7fc0)), floats_of(rounded)));
}

// The value after a round trip through the stored type.
inline Floats rounded(const float*, Floats v) { return v; }
inline Floats rounded(const uint16_t*, Floats v) { return floats_of(shift_left<16>(bf16_bits(v))); }

}  // namespace
}  // namespace cream::ops
