// The first of two kernels that sample a token per row: several blocks per row read the logits once
// and summarise them, so that the second kernel (ops/sample/block.h) reads only the part that it
// needs.
//
// A bin is a range of logits of a 48th of a nat at the row's temperature, in falling order; bin 0
// holds the highest logit, the last bin everything further than 21 nats below it. Bins are cut on
// one grid for all slices of a row, so a slice's bins are the row's, shifted.
#pragma once

#include <cmath>

#include "ops/sample/row.h"
#include "ops/token_logprob/block.h"
#include "support/block.h"

namespace cream::ops {

inline constexpr int64_t kSampleSlice = kLogitSlice;  // tokens per block, kept in shared memory
inline constexpr int kSampleBins = 1024;
inline constexpr double kBinsPerNat = 48;

// The mass of a bin is exp(−(bin − 1)/48) · (count − shortfall·2⁻²²) relative to the slice's
// highest logit: integers, so that the order of the additions does not matter. In the last bin,
// whose tokens are far apart, it is exp(−(bin − 1)/48) · shortfall·2⁻¹⁷.
struct SampleBin {
  uint32_t count, shortfall;
};
struct AddBins {
  CREAM_HOST_DEVICE SampleBin operator()(SampleBin a, SampleBin b) const {
    return {a.count + b.count, a.shortfall + b.shortfall};
  }
};
inline constexpr double kShortfallUnit = 1.0 / (1 << 22), kTailUnit = 1.0 / (1 << 17);

struct SliceStats {
  float max, sum;  // of all tokens: log-sum-exp in two parts
  float highest;   // of the allowed tokens
};

// Bins of a row below its highest logit. Falls with the logit whatever the rounding.
struct BinGrid {
  float scale, top;

  CREAM_HOST_DEVICE BinGrid(float highest, double temperature)
      : scale(static_cast<float>(kBinsPerNat / temperature)), top(floorf(highest * scale)) {}
  CREAM_HOST_DEVICE int bin(float logit) const {
    const float below = top - floorf(logit * scale);
    return below < kSampleBins - 1 ? static_cast<int>(below) : kSampleBins - 1;
  }
  // Beyond this, a float cannot represent every bin's number.
  CREAM_HOST_DEVICE bool exact() const { return fabsf(top) < 4194304.0f; }
};

// N: values per load.
template <int N>
struct SampleSliceBlock {
  static constexpr int most_threads = kSliceThreads;
  const float* logits;    // [rows, vocab]
  const SampleRow* rows;  // [rows]
  const int32_t* banned;  // token ids
  SliceStats* stats;      // out [rows, slices]
  SampleBin* bins;        // out [rows, slices, kSampleBins]; not written without a temperature or
                          // an allowed token
  int64_t vocab, slices;

  static constexpr int64_t shared_bytes =
      kSampleSlice * sizeof(float) + kSampleBins * sizeof(SampleBin);

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t first = block.index() % slices * kSampleSlice;
    const int64_t n = vocab - first < kSampleSlice ? vocab - first : kSampleSlice;
    const SampleRow& p = rows[block.index() / slices];
    float* const x = block.template shared<float>();
    const float* const from = logits + block.index() / slices * vocab + first;
    const SoftmaxSum all = slice_sum<N>(
        block, from, n, 0, [&](int64_t i, const Vec<float, N>& v) { store_vec<N>(x + i * N, v); });
    const float highest = ban(block, p, x, first, n) ? highest_of(block, x, n) : all.max;
    block.each(1, [&](int64_t) { stats[block.index()] = {all.max, all.sum, highest}; });
    if (p.temperature > 0 && highest > -INFINITY && highest < INFINITY)
      fill(block, p.temperature, x, n, highest);
  }

 private:
  // Masks the slice's banned tokens; returns whether it has any.
  template <class Block>
  CREAM_HOST_DEVICE bool ban(Block& block, const SampleRow& p, float* x, int64_t first,
                             int64_t n) const {
    bool any = false;
    for (int32_t b = 0; b < p.ban_count; ++b) {
      const int64_t i = banned[p.ban_first + b] - first;
      any = any || (i >= 0 && i < n);
    }
    if (!any) return false;
    block.each(1, [&](int64_t) {
      for (int32_t b = 0; b < p.ban_count; ++b) {
        const int64_t i = banned[p.ban_first + b] - first;
        if (i >= 0 && i < n) x[i] = -INFINITY;
      }
    });
    block.sync();
    return true;
  }

  template <class Block>
  CREAM_HOST_DEVICE float highest_of(Block& block, const float* x, int64_t n) const {
    return block.reduce(n, -INFINITY, [&](int64_t i) { return x[i]; }, Max{});
  }

  template <class Block>
  CREAM_HOST_DEVICE void fill(Block& block, double temperature, const float* x, int64_t n,
                              float highest) const {
    uint32_t* const counts =
        reinterpret_cast<uint32_t*>(block.template shared<float>() + kSampleSlice);
    uint32_t* const shortfalls = counts + kSampleBins;
    block.each(2 * kSampleBins, [&](int64_t i) { counts[i] = 0; });
    block.sync();
    const BinGrid grid(highest, temperature);
    const float inverse = static_cast<float>(1 / temperature);
    constexpr int last = kSampleBins - 1;
    // Most tokens of a peaked row are in the last bin, where atomic additions would wait for each
    // other.
    const SampleBin tail = block.reduce(
        n, SampleBin{0, 0},
        [&](int64_t i) {
          if (x[i] == -INFINITY) return SampleBin{0, 0};
          const int bin = grid.bin(x[i]);
          // Nats below the bin's reference: from 0 to 2/48, except in the last bin.
          const float a = (highest - x[i]) * inverse -
                          static_cast<float>(bin - 1) * static_cast<float>(1 / kBinsPerNat);
          if (bin == last)
            return SampleBin{
                1, static_cast<uint32_t>(fminf(expf(-a), 1) * static_cast<float>(1 << 17))};
          add_atomically(counts + bin, 1u);
          if (a > 0)  // 1 − exp(−a)
            add_atomically(
                shortfalls + bin,
                static_cast<uint32_t>(a * (1 - a * (0.5f - a * (1.0f / 6 - a * (1.0f / 24)))) *
                                          static_cast<float>(1 << 22) +
                                      0.5f));
          return SampleBin{0, 0};
        },
        AddBins{});
    SampleBin* const to = bins + block.index() * kSampleBins;
    block.each(kSampleBins,
               [&](int64_t i) { to[i] = i == last ? tail : SampleBin{counts[i], shortfalls[i]}; });
  }
};

}  // namespace cream::ops
