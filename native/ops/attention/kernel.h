// One CPU kernel for decode and packed batches, so a token's attention has the same bits either
// way. Raw pointers only; bf16 as uint16_t.
#pragma once

#include <cstdint>

#include "ops/attention/page.h"
#include "ops/level.h"

namespace cream::ops::attend {

inline constexpr int64_t key_block = 64;
inline constexpr int64_t most_head_dim = 256;
inline constexpr int64_t tile_queries = 6;  // 6 × 64 fp32 accumulators are 24 of the 32 registers

// Consecutive keys and values of one kv head, `stride` values apart. The first `grouped` keys, a
// multiple of 16, lie in groups that group_keys() transposed; stride is then head_dim.
template <class T>
struct Keys {
  const T* keys;
  const T* values;
  int64_t stride, length;
  int64_t grouped = 0;
};

// Transposes the 16 keys [16][d] where they lie, so that `add` need not do it in every step.
template <Level L, class T>
void group_keys(T* keys, int64_t d);

// Queries that attend to the same keys, with their running softmax. Query i is at q[i] (head_dim
// contiguous values).
template <class T>
struct Queries {
  const T* const* q;
  int64_t count, head_dim;  // head_dim: a multiple of 16, at most most_head_dim
  float scale, softcap;     // softcap 0: none
  float* scratch;           // scratch_floats(count, head_dim)
};

// Whether AMX's tiles score such heads. They read keys as they are, so no group is transposed.
template <class T>
constexpr bool fits_tiles(int64_t head_dim) {
  return sizeof(T) == sizeof(uint16_t) && head_dim % 32 == 0;
}

template <Level L>
int64_t scratch_floats(int64_t count, int64_t head_dim);

struct Range {
  int64_t first, last;
};

// The keys of a part that are visible to the queries of a range: query i sees keys begin[i] …
// end[i]−1. i counts from the range's first query. Null begin: from the first key; null end: to the
// last.
struct Visible {
  const int64_t* begin = nullptr;
  const int64_t* end = nullptr;
};

// Has the first block of a part read into the cache.
template <Level L, class T>
void prefetch(const Keys<T>& keys, int64_t d);

// Call begin, then `add` for each part, then finish. The first block of the part `next` is read
// into the cache meanwhile.
template <Level L, class T>
void begin(const Queries<T>& queries);
template <Level L, class T>
void add(const Queries<T>& queries, const Keys<T>& keys, Range range, const Visible& visible = {},
         const Keys<T>* next = nullptr);
// out[i]: address for query i's head_dim results.
template <Level L, class T>
void finish(const Queries<T>& queries, T* const* out);

}  // namespace cream::ops::attend
