// Products over head_dim of a few queries with 64 keys at once: what the attention kernel and its gradient share. For *_avx512.cpp only.
#pragma once

#include <cstdint>

#include "ops/attention/kernel.h"
#include "ops/avx512.h"

namespace cream::ops::attend {
namespace {

// 16 rows of 16 32-bit values, `stride` values apart → to[column][row], columns 64 apart.
inline void transpose16(__m512i (&r)[16], int32_t* to) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(to + key_block * i, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    _mm512_storeu_si512(to + key_block * (8 + i), _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
    _mm512_storeu_si512(to + key_block * (4 + i), _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88));
    _mm512_storeu_si512(to + key_block * (12 + i), _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd));
  }
}

// Keys [n ≤ 64][d] → [words][64] 32-bit words (a bf16 pair or one fp32), words = d·sizeof(T)/4; zero up to a multiple of 16 keys.
template <class T>
void turn_keys(const T* keys, int64_t stride, int64_t n, int64_t d, int32_t* to) {
  const int64_t words = d * static_cast<int64_t>(sizeof(T)) / 4;
  for (int64_t key = 0; key < n; key += 16)
    for (int64_t word = 0; word < words; word += 16) {
      const __mmask16 m = first_lanes(words - word);
      __m512i r[16];
      for (int64_t i = 0; i < 16; ++i) {
        const int32_t* row = reinterpret_cast<const int32_t*>(keys + (key + i) * stride) + word;
        r[i] = key + i < n ? _mm512_maskz_loadu_epi32(m, row) : _mm512_setzero_si512();
      }
      if (words - word >= 16) {
        transpose16(r, to + word * key_block + key);
      } else {
        int32_t turned[16 * key_block];
        transpose16(r, turned);
        for (int64_t w = 0; w < words - word; ++w)
          _mm512_storeu_si512(to + (word + w) * key_block + key, _mm512_loadu_si512(turned + w * key_block));
      }
    }
}

inline __m512 multiply_add(__m512 acc, int32_t query, __m512i key, const uint16_t*) {
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(_mm512_set1_epi32(query)), reinterpret_cast<__m512bh>(key));
}
inline __m512 multiply_add(__m512 acc, int32_t query, __m512i key, const float*) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(query)), _mm512_castsi512_ps(key), acc);
}

// The unroll pragmas keep the accumulators in registers: without them GCC 12 leaves the arrays on the stack, at half the speed.
// Scores of R queries against C·16 turned keys.
template <int R, int C, class T>
void score(const int32_t* query, const int32_t* keys, int64_t words, float scale, float* scores) {
  __m512 acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();
  for (int64_t w = 0; w < words; ++w, keys += key_block) {
    __m512i k[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) k[c] = _mm512_loadu_si512(keys + 16 * c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c)
        acc[r][c] = multiply_add(acc[r][c], query[r * words + w], k[c], static_cast<const T*>(nullptr));
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(scores + r * key_block + 16 * c, _mm512_mul_ps(acc[r][c], _mm512_set1_ps(scale)));
}

}  // namespace
}  // namespace cream::ops::attend
