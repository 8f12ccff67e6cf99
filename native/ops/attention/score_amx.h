// Scores of queries against a block of keys on AMX's tiles, for heads of a multiple of 32. Keys are
// the left operand, read where they lie, and queries, which are few, are transposed to be the right
// one: Sᵀ = K·Qᵀ. A score is one chain over head_dim, whatever the other keys and queries of its
// tile, so its bits are the same wherever a key lies in a block.
#pragma once

#include <cstring>

#include "ops/attention/kernel.h"
#include "ops/simd.h"
#include "ops/tiles_amx.h"

namespace cream::ops::attend {
namespace {

constexpr int64_t scored_queries = tile_rows;  // at once
constexpr int64_t chunk = 32;                  // of head_dim, that an instruction adds

constexpr int64_t transposed_floats(int64_t queries, int64_t d) {
  return (queries + tile_rows - 1) / tile_rows * tile_rows * d / 2;
}

// Queries of a range [query][d/2 words] → [queries/16][d/2][16] words, zero where there is none.
inline void transpose_queries(const int32_t* queries, Range range, int64_t d, int32_t* to) {
  const int64_t words = d / 2;
  for (int64_t first = range.first; first < range.last; first += tile_rows)
    for (int64_t word = 0; word < words; word += 16, to += 16 * tile_rows) {
      Words lines[16];
      for (int64_t i = 0; i < 16; ++i)
        lines[i] = first + i < range.last ? load_words(queries + (first + i) * words + word)
                                          : set_words(0);
      transpose16(lines);
      for (int64_t i = 0; i < 16; ++i) store_words(to + i * tile_rows, lines[i]);
    }
}

// The tiles of n ≤ 64 keys. A last tile that is not full is copied to `rest` [16][d].
struct KeyTiles {
  const uint16_t* at[key_block / tile_rows];
  int64_t stride[key_block / tile_rows];  // in bytes
  int64_t count;

  KeyTiles(const uint16_t* keys, int64_t keys_stride, int64_t n, int64_t d, uint16_t* rest)
      : count((n + tile_rows - 1) / tile_rows) {
    for (int64_t i = 0; i < count; ++i) {
      at[i] = keys + i * tile_rows * keys_stride;
      stride[i] = keys_stride * 2;
    }
    const int64_t left = n % tile_rows;
    if (left == 0) return;
    std::memset(rest + left * d, 0, static_cast<size_t>((tile_rows - left) * d) * 2);
    for (int64_t i = 0; i < left; ++i)
      std::memcpy(rest + i * d, at[count - 1] + i * keys_stride, static_cast<size_t>(d) * 2);
    at[count - 1] = rest;
    stride[count - 1] = d * 2;
  }
};

// Tiles 0–3: sums; 4, 5: keys; 6: queries.
template <int N>
inline void add_up(const KeyTiles& keys, int64_t d, const int32_t* queries) {
  _tile_zero(0);
  if constexpr (N > 1) _tile_zero(1);
  if constexpr (N > 2) _tile_zero(2);
  if constexpr (N > 3) _tile_zero(3);
  for (int64_t i = 0; i < d; i += chunk, queries += 16 * tile_rows) {
    _tile_loadd(6, queries, 64);
    _tile_loadd(4, keys.at[0] + i, keys.stride[0]);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (N > 1) {
      _tile_loadd(5, keys.at[1] + i, keys.stride[1]);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (N > 2) {
      _tile_loadd(4, keys.at[2] + i, keys.stride[2]);
      _tile_dpbf16ps(2, 4, 6);
    }
    if constexpr (N > 3) {
      _tile_loadd(5, keys.at[3] + i, keys.stride[3]);
      _tile_dpbf16ps(3, 5, 6);
    }
  }
}

// scores[16][64] = scale · (transposed queries · keys).
inline void score_tiles(const KeyTiles& keys, int64_t d, const int32_t* queries, float scale,
                        float* scores) {
  alignas(64) float sums[key_block / tile_rows][tile_rows * tile_rows];
  asm volatile("" ::: "memory");  // the tiles read what was stored before
  switch (keys.count) {
    case 1:
      add_up<1>(keys, d, queries);
      break;
    case 2:
      add_up<2>(keys, d, queries);
      break;
    case 3:
      add_up<3>(keys, d, queries);
      break;
    default:
      add_up<4>(keys, d, queries);
  }
  _tile_stored(0, sums[0], 64);
  if (keys.count > 1) _tile_stored(1, sums[1], 64);
  if (keys.count > 2) _tile_stored(2, sums[2], 64);
  if (keys.count > 3) _tile_stored(3, sums[3], 64);
  const Floats factor = set16(scale);
  for (int64_t i = 0; i < keys.count; ++i) {
    Words lines[16];
    for (int64_t j = 0; j < 16; ++j) lines[j] = load_words(sums[i] + j * tile_rows);
    transpose16(lines);
    for (int64_t j = 0; j < 16; ++j)
      store16(scores + j * key_block + i * tile_rows, mul16(floats_of(lines[j]), factor));
  }
}

}  // namespace
}  // namespace cream::ops::attend
