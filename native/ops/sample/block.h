// Samples one token per row on the device without a round trip and without sorting the row: the
// rule of op.h (temperature, top-k, top-p, inverse CDF at u; order by falling logit, ties by rising
// id).
//
//   slices (slice.h)   several blocks per row read the logits once: log-sum-exp, highest logit, and
//                      number and mass of the tokens in each of 1,024 ranges of logits (bins)
//   SampleBlock        one block per row: the bins in which top-k, top-p and u fall; reads the row
//                      again for the tokens of these bins alone, sorts them, and finds the token
//
// The masses of bins are sums of fp32 weights in integers, those of tokens within a bin fp64. So
// the draw differs from the fp64 rule only if u or top_p falls within about 1e−7 of a boundary.
#pragma once

#include "ops/sample/descent.h"
#include "ops/sample/slice.h"
#include "ops/token_logprob/block.h"

namespace cream::ops {

// The tokens of the row's whole bins before `bin`, and of that bin the first `count`.
struct Nucleus {
  int bin;
  uint32_t count;
  double mass, total;  // mass: of those in `bin`; total: of all
};

// Index of the first item at which a running sum reaches or exceeds a goal, and the sum before it.
struct Crossing {
  int64_t index;
  double before;
};

// Bins whose tokens are sorted in shared memory: two ranges, both ends included.
struct SortedBins {
  int first = 0, last = -1, second = 0, second_last = -1;
  CREAM_HOST_DEVICE bool has(int64_t bin) const {
    return (bin >= first && bin <= last) || (bin >= second && bin <= second_last);
  }
};

// N: values per load.
template <int N>
struct SampleBlock {
  static constexpr int most_threads = 256;
  const float* logits;      // [rows, vocab]
  const SampleRow* rows;    // one per block
  const int32_t* banned;    // token ids
  const SliceStats* stats;  // [rows, slices]
  const SampleBin* bins;    // [rows, slices, kSampleBins]
  int32_t* token;           // out [rows]; −1 where no logit is finite
  float* logprob;           // out [rows]: full vocabulary, temperature 1
  int64_t vocab, slices;

  static constexpr int chunks = 512, groups = chunks / 32, capacity = 4096;
  struct Shared {
    double mass[kSampleBins];
    union {
      double sums[chunks + groups];
      uint64_t histogram[256];
      struct {  // of up to chunks / 2 slices
        double factor[chunks / 2];
        int32_t shift[chunks / 2];
      } slice;
    };
    uint64_t keys[capacity];
    uint32_t count[kSampleBins];
    uint32_t cursor;
  };
  static constexpr int64_t shared_bytes = sizeof(Shared);

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t index = block.index();
    const SliceStats* const slice = stats + index * slices;
    SoftmaxSum all{0, 0};
    float highest = -INFINITY;
    for (int64_t s = 0; s < slices; ++s) {
      all = JoinSums{}(all, {slice[s].max, slice[s].sum});
      highest = slice[s].highest > highest ? slice[s].highest : highest;
    }
    const bool sound = highest > -INFINITY && highest < INFINITY && all.sum == all.sum;
    const uint32_t chosen = !sound                           ? 0
                            : !(rows[index].temperature > 0) ? first_highest(block, highest)
                                                             : drawn(block, highest);
    block.each(1, [&](int64_t) {
      token[index] = sound ? static_cast<int32_t>(chosen) : -1;
      logprob[index] = sound ? logits[index * vocab + chosen] - (all.max + logf(all.sum)) : 0;
    });
  }

 private:
  // The values that the steps of a draw share; equal in all threads.
  struct Row {
    const float* logits;
    const SampleRow& p;
    Shared& memory;
    float highest;
    BinGrid grid;
    SortedBins sorted{};

    CREAM_HOST_DEVICE double weight(uint64_t key) const {
      const float logit = logit_of(~static_cast<uint32_t>(key >> 32));
      return exp((static_cast<double>(logit) - highest) / p.temperature);
    }
  };

  template <class Block>
  CREAM_HOST_DEVICE uint32_t first_highest(Block& block, float highest) const {
    const int64_t index = block.index();
    const SliceStats* const slice = stats + index * slices;
    int64_t s = 0;
    while (slice[s].highest < highest) ++s;
    const float* const row = logits + index * vocab;
    const int64_t first = s * kSampleSlice;
    return static_cast<uint32_t>(block.reduce(
        vocab - first < kSampleSlice ? vocab - first : kSampleSlice, vocab,
        [&](int64_t i) {
          return row[first + i] == highest && rows[index].allows(banned, first + i) ? first + i
                                                                                    : vocab;
        },
        Min{}));
  }

  template <class Block>
  CREAM_HOST_DEVICE uint32_t drawn(Block& block, float highest) const {
    const SampleRow& p = rows[block.index()];
    Row row{logits + block.index() * vocab, p, *block.template shared<Shared>(), highest,
            BinGrid(highest, p.temperature)};
    uint32_t chosen = 0;
    if (row.grid.exact() && slices <= chunks / 2 && choose(block, row, chosen)) return chosen;
    return SampleDescent{row.logits, p, banned, vocab, highest, row.memory.histogram}.choose(block);
  }

  // Returns false if more tokens compete than can be sorted.
  template <class Block>
  CREAM_HOST_DEVICE bool choose(Block& block, Row& row, uint32_t& chosen) const {
    merge(block, row);
    const SampleRow& p = row.p;
    const uint32_t* const count = row.memory.count;
    const double* const mass = row.memory.mass;
    const int last = block.reduce(
        kSampleBins, 0, [&](int64_t i) { return count[i] > 0 ? static_cast<int>(i) : 0; }, Max{});
    Nucleus kept{last, count[last], mass[last], mass_before(block, row, last) + mass[last]};
    if (p.top_k > 0 && p.top_k < vocab && !keep_most(block, row, kept)) return false;
    if (p.top_p < 1 && !keep_mass(block, row, kept)) return false;
    const double goal = p.u * kept.total;
    const Crossing bin = bin_at(block, row, kept, goal, /*exceed=*/true);
    if (!row.sorted.has(bin.index) && !sort(block, row, only(bin.index))) return false;
    const int64_t at = offset(block, row, bin.index);
    chosen = static_cast<uint32_t>(
        row.memory.keys[at + token_at(block, row, kept, bin, goal, /*exceed=*/true).index]);
    return true;
  }

  template <class Block>
  CREAM_HOST_DEVICE bool keep_most(Block& block, Row& row, Nucleus& kept) const {
    const uint32_t* const count = row.memory.count;
    const Crossing at =
        crossing(block, row, kept.bin + 1, 0, static_cast<double>(row.p.top_k), /*exceed=*/false,
                 [&](int64_t i) { return static_cast<double>(count[i]); });
    const int bin = filled(row, at.index);
    const double left = static_cast<double>(row.p.top_k) - at.before;
    if (bin == kept.bin && left >= kept.count) return true;  // there are no more than k
    if (!sort(block, row, only(bin))) return false;
    const uint32_t most = left < count[bin] ? static_cast<uint32_t>(left) : count[bin];
    const int64_t from = offset(block, row, bin);
    const double mass = block.reduce(
        most, 0.0, [&](int64_t i) { return row.weight(row.memory.keys[from + i]); }, Sum{});
    kept = {bin, most, mass, mass_before(block, row, bin) + mass};
    return true;
  }

  // Also sorts the bins in which u may fall, so that the row is usually read only once more.
  template <class Block>
  CREAM_HOST_DEVICE bool keep_mass(Block& block, Row& row, Nucleus& kept) const {
    const double goal = row.p.top_p * kept.total, u = row.p.u;
    const Crossing bin = bin_at(block, row, kept, goal, /*exceed=*/false);
    if (!row.sorted.has(bin.index)) {
      const double most = bin.before + row.memory.mass[bin.index];
      const int low =
          static_cast<int>(bin_at(block, row, kept, u * bin.before, /*exceed=*/true).index);
      const int high = static_cast<int>(bin_at(block, row, kept, u * most, /*exceed=*/true).index);
      const int at = static_cast<int>(bin.index);
      if (!sort(block, row, {low, high < at ? high : at, at, at}) && !sort(block, row, only(at)))
        return false;
    }
    const Crossing at = token_at(block, row, kept, bin, goal, /*exceed=*/false);
    const double total =
        at.before + row.weight(row.memory.keys[offset(block, row, bin.index) + at.index]);
    kept = {static_cast<int>(bin.index), static_cast<uint32_t>(at.index) + 1, total - bin.before,
            total};
    return true;
  }

  CREAM_HOST_DEVICE static SortedBins only(int64_t bin) {
    return {static_cast<int>(bin), static_cast<int>(bin), 0, -1};
  }
  // The bin itself or, if rounding led past the last token, the next non-empty one above it.
  CREAM_HOST_DEVICE static int filled(const Row& row, int64_t bin) {
    while (bin > 0 && row.memory.count[bin] == 0) --bin;
    return static_cast<int>(bin);
  }

  template <class Block>
  CREAM_HOST_DEVICE Crossing bin_at(Block& block, const Row& row, const Nucleus& kept, double goal,
                                    bool exceed) const {
    const Crossing at = crossing(block, row, kept.bin + 1, 0, goal, exceed, [&](int64_t i) {
      return i == kept.bin ? kept.mass : row.memory.mass[i];
    });
    return {filled(row, at.index), at.before};
  }

  // Within a sorted bin.
  template <class Block>
  CREAM_HOST_DEVICE Crossing token_at(Block& block, const Row& row, const Nucleus& kept,
                                      const Crossing& bin, double goal, bool exceed) const {
    const int64_t from = offset(block, row, bin.index);
    return crossing(block, row, bin.index == kept.bin ? kept.count : row.memory.count[bin.index],
                    bin.before, goal, exceed,
                    [&](int64_t i) { return row.weight(row.memory.keys[from + i]); });
  }

  // Sums chunks of items, groups of chunks, and then walks groups, chunks and items.
  template <class Block, class Weight>
  CREAM_HOST_DEVICE Crossing crossing(Block& block, const Row& row, int64_t n, double before,
                                      double goal, bool exceed, const Weight& weight) const {
    double *const sums = row.memory.sums, *const of_groups = sums + chunks;
    const int64_t size = (n + chunks - 1) / chunks, used = (n + size - 1) / size,
                  last_group = (used - 1) / 32;
    const auto end_of = [](int64_t begin, int64_t length, int64_t most) {
      return begin + length < most ? begin + length : most;
    };
    const auto reached = [&](double sum) { return exceed ? sum > goal : sum >= goal; };
    block.sync();
    block.each(used, [&](int64_t c) {
      double sum = 0;
      for (int64_t i = c * size; i < end_of(c * size, size, n); ++i) sum += weight(i);
      sums[c] = sum;
    });
    block.sync();
    block.each(last_group + 1, [&](int64_t g) {
      double sum = 0;
      for (int64_t c = g * 32; c < end_of(g * 32, 32, used); ++c) sum += sums[c];
      of_groups[g] = sum;
    });
    block.sync();
    int64_t g = 0;
    for (; g < last_group && !reached(before + of_groups[g]); ++g) before += of_groups[g];
    int64_t c = g * 32;
    for (; c + 1 < end_of(g * 32, 32, used) && !reached(before + sums[c]); ++c) before += sums[c];
    int64_t i = c * size;
    for (; i + 1 < end_of(c * size, size, n); ++i) {
      const double w = weight(i);
      if (reached(before + w)) break;
      before += w;
    }
    return {i, before};
  }

  template <class Block>
  CREAM_HOST_DEVICE double mass_before(Block& block, const Row& row, int64_t bin) const {
    return block.reduce(bin, 0.0, [&](int64_t i) { return row.memory.mass[i]; }, Sum{});
  }

  // The position at which the sorted tokens of a bin begin.
  template <class Block>
  CREAM_HOST_DEVICE int64_t offset(Block& block, const Row& row, int64_t bin) const {
    return block.reduce(
        bin, uint32_t{0},
        [&](int64_t i) { return row.sorted.has(i) ? row.memory.count[i] : uint32_t{0}; }, Sum{});
  }

  // Joins the slices' bins to count and mass of the row's bins.
  template <class Block>
  CREAM_HOST_DEVICE void merge(Block& block, const Row& row) const;
  // Sorts the tokens of these bins into row.memory.keys; returns false if they are too many.
  template <class Block>
  CREAM_HOST_DEVICE bool sort(Block& block, Row& row, const SortedBins& wanted) const;
  template <class Block>
  CREAM_HOST_DEVICE void collect(Block& block, Row& row, const SortedBins& wanted) const;
};

}  // namespace cream::ops

#include "ops/sample/bins.h"
