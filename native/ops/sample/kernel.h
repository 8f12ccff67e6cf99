// The three passes over the vocabulary of sample's fast path; raw pointers only.
#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

struct Peak {
  float logit;
  int64_t id;  // the lowest with that logit
  bool nan;    // some value is NaN; the rest is then meaningless
};
template <Level L>
Peak peak(const float* logits, int64_t vocab);

// Σ exp((logit − max) · inverse_temperature), in double.
template <Level L>
double weight_sum(const float* logits, int64_t vocab, double max, double inverse_temperature);

// Writes sort keys of the logits with low ≤ logit < high and returns their number. Rising keys are
// falling logits, ties by rising id. `keys` can hold all of them.
template <Level L>
int64_t collect(const float* logits, int64_t vocab, float low, float high, uint64_t* keys);

inline uint64_t sort_key(float logit, uint32_t id) {
  const float positive_zero = logit + 0.0f;  // −0 and 0 are a tie
  uint32_t bits;
  __builtin_memcpy(&bits, &positive_zero, 4);
  const uint32_t rising =
      bits & 0x80000000u ? ~bits : bits | 0x80000000u;  // order of unsigned = order of float
  return uint64_t{~rising} << 32 | id;
}
inline uint32_t key_id(uint64_t key) { return static_cast<uint32_t>(key); }

}  // namespace cream::ops
