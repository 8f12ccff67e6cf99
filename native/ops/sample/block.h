// Samples one token per row on the device without a sort or a round trip: the rule of op.h
// (temperature, top-k, top-p, inverse CDF at u; order by falling logit, ties by rising id) by radix
// descent over the logits' bits.
//
// A logit becomes a 32-bit key with the same order; a token's weight exp((logit − max)/T) becomes
// an integer multiple of 2⁻⁴⁰, so masses are exact integer sums in any order of addition. Each
// search ("at which key does the running mass from the top first reach M") walks four 8-bit digits
// with a histogram of 256 masses per digit. The draw differs from the fp64 rule only if u or top_p
// falls within 2⁻⁴⁰·vocab of a boundary.
#pragma once

#include <cmath>

#include "ops/token_logprob/block.h"
#include "support/block.h"

namespace cream::ops {

// Orders as the float does, −0 and 0 alike; −inf is the smallest, NaN is not given here.
CREAM_HOST_DEVICE inline uint32_t order_key(float x) {
  x += 0.0f;
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

CREAM_HOST_DEVICE inline void add_atomically(uint64_t* to, uint64_t value) {
#ifdef __CUDA_ARCH__
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
#else
  __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
#endif
}

struct SampleRow {
  double temperature, top_p, u;  // temperature 0: greedy
  int64_t top_k;                 // 0: all
  int32_t ban_first, ban_count;  // of `banned`
};

struct SampleBlock {
  const float* logits;    // [rows, vocab]
  const SampleRow* rows;  // one per block
  const int32_t* banned;  // token ids
  int32_t* token;         // out [rows]; −1 where no logit is finite
  float* logprob;         // out [rows]: full vocabulary, temperature 1
  int64_t vocab;

  static constexpr int64_t scratch_bytes() { return 256 * sizeof(uint64_t); }
  static constexpr double unit = 1099511627776.0;  // 2⁴⁰

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t index = block.index();
    const float* row = logits + index * vocab;
    const SampleRow& p = rows[index];
    const auto allowed = [&](int64_t i) {
      for (int32_t b = 0; b < p.ban_count; ++b)
        if (banned[p.ban_first + b] == i) return false;
      return true;
    };
    const SoftmaxSum all = block.reduce(
        vocab, SoftmaxSum{0, 0},
        [&](int64_t i) { return SoftmaxSum{row[i], row[i] == -INFINITY ? 0.0f : 1.0f}; },
        JoinSums{});
    const float highest = block.reduce(
        vocab, -INFINITY, [&](int64_t i) { return allowed(i) ? row[i] : -INFINITY; }, Max{});
    const bool sound = highest > -INFINITY && highest < INFINITY && all.sum == all.sum;
    const uint32_t chosen = sound ? choose(block, row, p, highest, allowed) : 0;
    block.each(1, [&](int64_t) {
      token[index] = sound ? static_cast<int32_t>(chosen) : -1;
      logprob[index] = sound ? row[chosen] - (all.max + logf(all.sum)) : 0;
    });
  }

 private:
  // The first token at which the running sum from the top reaches `goal` (goal ≥ 1), its key, and
  // what lies above that key.
  struct Found {
    uint32_t key;
    uint64_t above;
  };

  template <class Block, class Weight>
  CREAM_HOST_DEVICE Found descend(Block& block, const float* row, uint64_t goal,
                                  const Weight& weight) const {
    uint64_t* histogram = block.template shared<uint64_t>();
    uint32_t prefix = 0;
    uint64_t above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
      block.sync();
      block.each(256, [&](int64_t i) { histogram[i] = 0; });
      block.sync();
      block.each(vocab, [&](int64_t i) {
        const uint32_t key = order_key(row[i]);
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

  template <class Block, class Allowed>
  CREAM_HOST_DEVICE uint32_t choose(Block& block, const float* row, const SampleRow& p,
                                    float highest, const Allowed& allowed) const {
    const auto first_at = [&](uint32_t key, uint64_t ordinal) {
      return nth(block, row, key, ordinal, allowed);
    };
    if (!(p.temperature > 0)) return first_at(order_key(highest), 0);
    const auto weight_of = [&](float logit) {
      return static_cast<uint64_t>(exp((static_cast<double>(logit) - highest) / p.temperature) *
                                   unit);
    };
    const auto mass = [&](int64_t i) { return allowed(i) ? weight_of(row[i]) : uint64_t{0}; };
    const auto sum_from = [&](uint32_t key) {
      return block.reduce(
          vocab, uint64_t{0},
          [&](int64_t i) { return order_key(row[i]) >= key ? mass(i) : uint64_t{0}; }, Sum{});
    };
    const auto logit_of = [](uint32_t key) {
      const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
      float x;
      memcpy(&x, &bits, sizeof x);
      return x;
    };
    uint64_t kept = sum_from(0);
    if (p.top_k > 0 && p.top_k < vocab) {
      const Found at = descend(block, row, static_cast<uint64_t>(p.top_k), [&](int64_t i) {
        return static_cast<uint64_t>(allowed(i) && row[i] > -INFINITY);
      });
      // Of the tokens at the last key only as many as fit in k.
      const uint64_t mass_above = at.key == 0xffffffffu ? 0 : sum_from(at.key + 1);
      const uint64_t with =
          mass_above + (static_cast<uint64_t>(p.top_k) - at.above) * weight_of(logit_of(at.key));
      kept = with < kept ? with : kept;
    }
    if (p.top_p < 1) {
      const uint64_t goal = static_cast<uint64_t>(ceil(p.top_p * static_cast<double>(kept)));
      const Found at = descend(block, row, goal < 1 ? 1 : goal, mass);
      const uint64_t each = weight_of(logit_of(at.key)), over = (goal < 1 ? 1 : goal) - at.above;
      const uint64_t with = at.above + (over + each - 1) / each * each;
      kept = with < kept ? with : kept;
    }
    // The running sum must exceed u·kept.
    uint64_t goal = static_cast<uint64_t>(p.u * static_cast<double>(kept)) + 1;
    if (goal > kept) goal = kept;
    const Found at = descend(block, row, goal, mass);
    return first_at(at.key, (goal - at.above - 1) / weight_of(logit_of(at.key)));
  }

  // The token number `ordinal` (by rising id) among the allowed ones with this key.
  template <class Block, class Allowed>
  CREAM_HOST_DEVICE uint32_t nth(Block& block, const float* row, uint32_t key, uint64_t ordinal,
                                 const Allowed& allowed) const {
    int64_t from = 0;
    for (uint64_t passed = 0;; ++passed) {
      const int64_t found = block.reduce(
          vocab - from, vocab,
          [&](int64_t i) {
            return order_key(row[from + i]) == key && allowed(from + i) ? from + i : vocab;
          },
          Min{});
      if (passed == ordinal || found == vocab)
        return static_cast<uint32_t>(found < vocab ? found : from - 1);
      from = found + 1;
    }
  }
};

}  // namespace cream::ops
