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

// A row of logits, banned tokens at −inf, whose tokens weigh exp((logit − max) / temperature).
struct TemperedRow {
  const float* logits;
  int64_t vocab;
  double max, temperature;
};

// The weight of all tokens, in double.
template <Level L>
double weight_sum(const TemperedRow& row);

// Rising keys are falling logits, ties by rising id.
struct Candidate {
  uint64_t key;
  double weight;
};
struct Collected {
  int64_t count;
  double weight;
};
// Writes the tokens with low ≤ logit < high, of which `candidates` can hold all, by rising id.
template <Level L>
Collected collect(const TemperedRow& row, float low, float high, Candidate* candidates);

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
