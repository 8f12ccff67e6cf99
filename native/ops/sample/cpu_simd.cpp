#include "ops/sample/kernel.h"

#include <algorithm>

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

namespace {

struct Weigh {
  explicit Weigh(const TemperedRow& row)
      : max(set8(row.max)), inverse_temperature(set8(1 / row.temperature)) {}
  Doubles operator()(Doubles x) const { return exp8(mul8(sub8(x, max), inverse_temperature)); }
  Doubles max, inverse_temperature;
};

}  // namespace

template <>
double weight_sum<CREAM_LEVEL>(const TemperedRow& row) {
  const Weigh weight(row);
  Doubles sum = set8(0), sum1 = sum;
  int64_t i = 0;
  for (; i + 16 <= row.vocab; i += 16) {
    sum = add8(sum, weight(load8(row.logits + i)));
    sum1 = add8(sum1, weight(load8(row.logits + i + 8)));
  }
  for (; i < row.vocab; i += 8) {
    const Mask8 lanes = first_lanes8(row.vocab - i);
    sum = add8(sum, weight(load8(row.logits + i, lanes)), lanes);
  }
  return sum8(add8(sum, sum1));
}

template <>
Collected collect<CREAM_LEVEL>(const TemperedRow& row, float low, float high,
                               Candidate* candidates) {
  int64_t count = 0;
  const Floats from = set16(low), to = set16(high);
  for (int64_t i = 0; i < row.vocab; i += 16) {
    const Mask lanes = first_lanes(row.vocab - i);
    const Floats x = load16(row.logits + i, lanes);
    uint32_t hit = bits16(and16(lanes, and16(at_least16(x, from), below16(x, to))));
    for (; hit; hit &= hit - 1) {
      const int64_t id = i + __builtin_ctz(hit);
      candidates[count++].key = sort_key(row.logits[id], static_cast<uint32_t>(id));
    }
  }
  const Weigh weight(row);
  double sum = 0;
  for (int64_t i = 0; i < count; i += 8) {
    const int64_t n = std::min<int64_t>(8, count - i);
    float logits[8] = {};
    double weights[8];
    for (int64_t j = 0; j < n; ++j) logits[j] = row.logits[key_id(candidates[i + j].key)];
    store8(weights, weight(load8(logits)));
    for (int64_t j = 0; j < n; ++j) sum += candidates[i + j].weight = weights[j];
  }
  return {count, sum};
}

}  // namespace cream::ops
