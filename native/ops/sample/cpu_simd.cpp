#include "ops/sample/kernel.h"

#include "ops/simd.h"

namespace cream::ops {

template <>
Peak peak<CREAM_LEVEL>(const float* logits, int64_t vocab) {
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
  Floats high = set16(minus_infinity);
  uint32_t nan = 0;
  for (int64_t i = 0; i < vocab; i += 16) {
    const Floats x = load16(logits + i, first_lanes(vocab - i), set16(minus_infinity));
    nan |= bits16(nan16(x));
    high = max16(high, x);
  }
  Peak peak{top16(high), 0, nan != 0};
  const Floats target = set16(peak.logit);
  for (int64_t i = 0; i < vocab; i += 16) {
    const Mask lanes = first_lanes(vocab - i);
    const uint32_t hit = bits16(and16(lanes, equal16(load16(logits + i, lanes), target)));
    if (hit) {
      peak.id = i + __builtin_ctz(hit);
      break;
    }
  }
  return peak;
}

template <>
double weight_sum<CREAM_LEVEL>(const float* logits, int64_t vocab, double max,
                               double inverse_temperature) {
  const Doubles m = set8(max), scale = set8(inverse_temperature);
  const auto weight = [&](Doubles x) { return exp8(mul8(sub8(x, m), scale)); };
  Doubles sum = set8(0), sum1 = sum;
  int64_t i = 0;
  for (; i + 16 <= vocab; i += 16) {
    sum = add8(sum, weight(load8(logits + i)));
    sum1 = add8(sum1, weight(load8(logits + i + 8)));
  }
  for (; i < vocab; i += 8) {
    const Mask8 lanes = first_lanes8(vocab - i);
    sum = add8(sum, weight(load8(logits + i, lanes)), lanes);
  }
  return sum8(add8(sum, sum1));
}

template <>
int64_t collect<CREAM_LEVEL>(const float* logits, int64_t vocab, float low, float high,
                             uint64_t* keys) {
  int64_t count = 0;
  const Floats from = set16(low), to = set16(high);
  for (int64_t i = 0; i < vocab; i += 16) {
    const Mask lanes = first_lanes(vocab - i);
    const Floats x = load16(logits + i, lanes);
    uint32_t hit = bits16(and16(lanes, and16(at_least16(x, from), below16(x, to))));
    for (; hit; hit &= hit - 1) {
      const int64_t id = i + __builtin_ctz(hit);
      keys[count++] = sort_key(logits[id], static_cast<uint32_t>(id));
    }
  }
  return count;
}

}  // namespace cream::ops
