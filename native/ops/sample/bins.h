// SampleBlock's operations on bins: joining the bins of the slices, and sorting the tokens of some
// bins.
#pragma once

#include "ops/sample/block.h"

namespace cream::ops {

template <int N>
template <class Block>
CREAM_HOST_DEVICE void SampleBlock<N>::merge(Block& block, const Row& row) const {
  const SliceStats* const slice = stats + block.index() * slices;
  const SampleBin* const from = bins + block.index() * slices * kSampleBins;
  auto& [factor, shift] = row.memory.slice;
  constexpr int last = kSampleBins - 1;
  block.sync();
  // A slice's bin is the row's `shift` further down; its masses are relative to its own highest
  // logit, which is a fraction of a bin more or less than `shift` bins below the row's.
  block.each(slices, [&](int64_t s) {
    if (slice[s].highest == -INFINITY) {
      shift[s] = -1;
      return;
    }
    const float bins_below = row.grid.top - floorf(slice[s].highest * row.grid.scale);
    shift[s] = bins_below < kSampleBins ? static_cast<int32_t>(bins_below) : kSampleBins;
    factor[s] = exp((static_cast<double>(slice[s].highest) - row.highest) / row.p.temperature +
                    shift[s] / kBinsPerNat);
  });
  block.sync();
  const auto part = [&](int64_t s, int64_t bin) {
    const SampleBin b = from[s * kSampleBins + bin];
    return bin == last ? b.shortfall * kTailUnit : b.count - b.shortfall * kShortfallUnit;
  };
  block.each(last, [&](int64_t i) {
    uint32_t count = 0;
    double mass = 0;
    for (int64_t s = 0; s < slices; ++s) {
      const int64_t bin = i - shift[s];
      if (shift[s] < 0 || bin < 0) continue;
      count += from[s * kSampleBins + bin].count;
      mass += factor[s] * part(s, bin);
    }
    row.memory.count[i] = count;
    row.memory.mass[i] = mass * exp((1 - static_cast<double>(i)) / kBinsPerNat);
  });
  // The row's last bin holds everything that lies below it in every slice.
  const auto in_tail = [&](int64_t i) {
    const int64_t s = i / kSampleBins;
    return shift[s] >= 0 && i % kSampleBins + shift[s] >= last;
  };
  const uint32_t count = block.reduce(
      slices * kSampleBins, uint32_t{0},
      [&](int64_t i) { return in_tail(i) ? from[i].count : uint32_t{0}; }, Sum{});
  const double mass = block.reduce(
      slices * kSampleBins, 0.0,
      [&](int64_t i) {
        const int64_t s = i / kSampleBins, bin = i % kSampleBins;
        if (!in_tail(i) || from[i].count == 0) return 0.0;
        return factor[s] * part(s, bin) *
               exp((1 - static_cast<double>(bin) - shift[s]) / kBinsPerNat);
      },
      Sum{});
  block.each(1, [&](int64_t) {
    row.memory.count[last] = count;
    row.memory.mass[last] = mass;
  });
  block.sync();
}

template <int N>
template <class Block>
CREAM_HOST_DEVICE bool SampleBlock<N>::sort(Block& block, Row& row,
                                            const SortedBins& wanted) const {
  uint64_t* const keys = row.memory.keys;
  const uint32_t n = block.reduce(
      kSampleBins, uint32_t{0},
      [&](int64_t i) { return wanted.has(i) ? row.memory.count[i] : uint32_t{0}; }, Sum{});
  if (n > capacity) return false;
  collect(block, row, wanted);
  if (row.memory.cursor != n) return false;  // bins whose numbers a float cannot represent
  uint32_t padded = 1;
  while (padded < n) padded *= 2;
  block.each(padded - n, [&](int64_t i) { keys[n + i] = ~uint64_t{0}; });
  block.sync();
  for (uint32_t size = 2; size <= padded; size *= 2)  // bitonic
    for (uint32_t stride = size / 2; stride > 0; stride /= 2) {
      block.each(padded / 2, [&](int64_t i) {
        const uint32_t at = static_cast<uint32_t>(i),
                       low = (at & ~(stride - 1)) * 2 | (at & (stride - 1));
        uint64_t &a = keys[low], &b = keys[low + stride];
        if ((a > b) == ((low & size) == 0)) {
          const uint64_t higher = a;
          a = b;
          b = higher;
        }
      });
      block.sync();
    }
  row.sorted = wanted;
  return true;
}

// Reads only the slices that have tokens in the wanted bins. The tokens come in any order.
template <int N>
template <class Block>
CREAM_HOST_DEVICE void SampleBlock<N>::collect(Block& block, Row& row,
                                               const SortedBins& wanted) const {
  const SliceStats* const slice = stats + block.index() * slices;
  const SampleBin* const from = bins + block.index() * slices * kSampleBins;
  int32_t* const has = row.memory.slice.shift;
  block.sync();
  block.each(slices, [&](int64_t s) { has[s] = 0; });
  block.each(1, [&](int64_t) { row.memory.cursor = 0; });
  block.sync();
  block.each(slices * kSampleBins, [&](int64_t i) {
    const int64_t s = i / kSampleBins;
    if (slice[s].highest == -INFINITY || from[i].count == 0) return;
    const float below = row.grid.top - floorf(slice[s].highest * row.grid.scale) +
                        static_cast<float>(i % kSampleBins);
    if (wanted.has(below < kSampleBins - 1 ? static_cast<int>(below) : kSampleBins - 1))
      add_atomically(reinterpret_cast<uint32_t*>(has + s), 1u);
  });
  block.sync();
  for (int64_t s = 0; s < slices; ++s) {
    if (has[s] == 0) continue;
    const int64_t first = s * kSampleSlice,
                  n = vocab - first < kSampleSlice ? vocab - first : kSampleSlice;
    block.each(n / N, [&](int64_t i) {
      const Vec<float, N> v = load_vec<N>(row.logits + first + i * N);
      for (int k = 0; k < N; ++k) {
        const int64_t id = first + i * N + k;
        if (!(v.x[k] <= row.highest) || v.x[k] == -INFINITY || !wanted.has(row.grid.bin(v.x[k])) ||
            !row.p.allows(banned, id))
          continue;
        const uint32_t at = add_atomically(&row.memory.cursor, 1u);
        if (at < capacity)
          row.memory.keys[at] = uint64_t{~order_key(v.x[k])} << 32 | static_cast<uint32_t>(id);
      }
    });
  }
  block.sync();
}

}  // namespace cream::ops
