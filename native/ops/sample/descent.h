// The rule of op.h on a whole row, by radix descent over the logits' bits, without memory that
// grows with the row. It reads the row about twenty times, so SampleBlock uses it only where more
// tokens compete for one draw than it can sort.
//
// A logit becomes a 32-bit key with the same order; a token's weight exp((logit − max)/T) becomes
// an integer multiple of 2⁻⁴⁰, so masses are exact integer sums in any order of addition. Each
// search ("at which key does the running mass from the top first reach M") walks four 8-bit digits
// with a histogram of 256 masses per digit. The draw differs from the fp64 rule only if u or top_p
// falls within 2⁻⁴⁰·vocab of a boundary.
#pragma once

#include "ops/sample/row.h"
#include "support/block.h"

namespace cream::ops {

struct SampleDescent {
  const float* row;
  const SampleRow& p;
  const int32_t* banned;
  int64_t vocab;
  float highest;        // of the allowed tokens
  uint64_t* histogram;  // [256], shared memory

  static constexpr double unit = 1099511627776.0;  // 2⁴⁰

  // The temperature is above 0, and some allowed logit is finite.
  template <class Block>
  CREAM_HOST_DEVICE uint32_t choose(Block& block) const {
    const auto weight_of = [&](float logit) {
      return static_cast<uint64_t>(exp((static_cast<double>(logit) - highest) / p.temperature) *
                                   unit);
    };
    const auto mass = [&](int64_t i) {
      return p.allows(banned, i) ? weight_of(row[i]) : uint64_t{0};
    };
    const auto key_of = [&](int64_t i) { return order_key(row[i]); };
    const auto sum_from = [&](uint32_t key) {
      return block.reduce(
          vocab, uint64_t{0},
          [&](int64_t i) { return order_key(row[i]) >= key ? mass(i) : uint64_t{0}; }, Sum{});
    };
    uint64_t kept = sum_from(0);
    if (p.top_k > 0 && p.top_k < vocab) {
      const Found at = descend(block, static_cast<uint64_t>(p.top_k), key_of, [&](int64_t i) {
        return static_cast<uint64_t>(p.allows(banned, i) && row[i] > -INFINITY);
      });
      // Only as many tokens of the last key count as fit in k.
      const uint64_t mass_above = at.key == 0xffffffffu ? 0 : sum_from(at.key + 1);
      const uint64_t with =
          mass_above + (static_cast<uint64_t>(p.top_k) - at.above) * weight_of(logit_of(at.key));
      kept = with < kept ? with : kept;
    }
    if (p.top_p < 1) {
      const uint64_t goal = static_cast<uint64_t>(ceil(p.top_p * static_cast<double>(kept)));
      const Found at = descend(block, goal < 1 ? 1 : goal, key_of, mass);
      const uint64_t each = weight_of(logit_of(at.key)), over = (goal < 1 ? 1 : goal) - at.above;
      const uint64_t with = at.above + (over + each - 1) / each * each;
      kept = with < kept ? with : kept;
    }
    // The running sum must exceed u·kept.
    uint64_t goal = static_cast<uint64_t>(p.u * static_cast<double>(kept)) + 1;
    if (goal > kept) goal = kept;
    const Found at = descend(block, goal, key_of, mass);
    return nth(block, at.key, (goal - at.above - 1) / weight_of(logit_of(at.key)));
  }

 private:
  // The highest key at which the running sum from the top reaches `goal` (goal ≥ 1), and the sum
  // above that key.
  struct Found {
    uint32_t key;
    uint64_t above;
  };

  template <class Block, class Key, class Weight>
  CREAM_HOST_DEVICE Found descend(Block& block, uint64_t goal, const Key& key_of,
                                  const Weight& weight) const {
    uint32_t prefix = 0;
    uint64_t above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
      block.sync();
      block.each(256, [&](int64_t i) { histogram[i] = 0; });
      block.sync();
      block.each(vocab, [&](int64_t i) {
        const uint32_t key = key_of(i);
        if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8)) {
          const uint64_t w = weight(i);
          if (w > 0) add_atomically(histogram + (key >> shift & 255), w);
        }
      });
      block.sync();
      int digit = 255;
      while (digit > 0 && above + histogram[digit] < goal) above += histogram[digit--];
      prefix |= static_cast<uint32_t>(digit) << shift;
    }
    return {prefix, above};
  }

  // The token number `ordinal` (by rising id) among the allowed ones with this key.
  template <class Block>
  CREAM_HOST_DEVICE uint32_t nth(Block& block, uint32_t key, uint64_t ordinal) const {
    return ~descend(
                block, ordinal + 1, [](int64_t i) { return ~static_cast<uint32_t>(i); },
                [&](int64_t i) {
                  return static_cast<uint64_t>(order_key(row[i]) == key && p.allows(banned, i));
                })
                .key;
  }
};

}  // namespace cream::ops
