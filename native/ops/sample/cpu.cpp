// The reference's rule without a sort. Tokens with relevant mass lie within a few temperatures of
// the highest logit, so bands of tokens are collected downwards from it until their mass suffices
// for top-p (or for u), or there are top-k of them; quickselect by mass then finds where the
// nucleus ends and which token is drawn. Masses are sums of doubles, so the draw equals the
// reference's unless u falls within about 1e−14 of a boundary.
#include "ops/sample/op.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "ops/dispatch.h"
#include "ops/sample/kernel.h"
#include "ops/softmax_block.h"

namespace cream::ops {
namespace {

// Scratch memory, kept between calls: a step samples dozens of rows on each thread.
struct Scratch {
  std::vector<float> masked;
  std::vector<Candidate> candidates;
};
Scratch& scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

bool before(const Candidate& a, const Candidate& b) { return a.key < b.key; }

// The highest tokens, in no order: at least `least` tokens and more than `mass` of weight, or all
// finite ones.
template <Level L>
std::span<Candidate> collect_top(const TemperedRow& row, int64_t least, double mass) {
  auto& candidates = scratch().candidates;
  candidates.resize(row.vocab);
  int64_t count = 0;
  double sum = 0, window = 6;
  float high = INFINITY;
  for (bool last = false; !last; window *= 1.5) {
    float low = static_cast<float>(row.max - window * row.temperature);
    // Each band must reach further down than the last one. If rounding prevents this, or far below
    // the maximum, all remaining tokens are taken.
    last = window > 1000 || !(low < high) || !std::isfinite(low);
    if (last) low = -std::numeric_limits<float>::max();
    const Collected band = collect<L>(row, low, high, candidates.data() + count);
    count += band.count;
    sum += band.weight;
    last = last || (count >= least && sum > mass);
    high = low;
  }
  return std::span(candidates).first(count);
}

struct Prefix {
  size_t length;
  double mass;  // of its tokens
};

// The shortest prefix in nucleus order whose mass is ≥ `mass` (`exceed`: greater); all candidates
// if rounding keeps them from getting there. It stands first afterwards, in no order but that its
// last token stands last. Quickselect: each round keeps the side of the pivot on which the prefix
// ends.
Prefix shortest_prefix(std::span<Candidate> candidates, double mass, bool exceed) {
  const auto reaches = [&](double sum) { return exceed ? sum > mass : sum >= mass; };
  Candidate* const all = candidates.data();
  size_t low = 0, high = candidates.size();
  double sum = 0;  // of the candidates before `low`
  for (int round = 0; high - low > 16 && round < 64; ++round) {
    const uint64_t a = all[low].key, b = all[low + (high - low) / 2].key, c = all[high - 1].key;
    const uint64_t pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    size_t middle = low;  // not `low` in the end: keys differ, so a, b or c lies before the pivot
    double left = 0;
    for (size_t i = low; i < high; ++i) {
      const Candidate candidate = all[i];
      const bool lies_before = candidate.key < pivot;
      all[i] = all[middle];
      all[middle] = candidate;
      middle += lies_before;
      left += lies_before ? candidate.weight : 0;
    }
    if (reaches(sum + left)) {
      high = middle;
    } else {
      low = middle;
      sum += left;
    }
  }
  std::sort(all + low, all + high, before);
  for (; low < high; ++low) {
    sum += all[low].weight;
    if (reaches(sum)) return {low + 1, sum};
  }
  return {high, sum};
}

template <Level L>
int64_t draw(const TemperedRow& row, const SamplingParams& params, double u) {
  const bool top_k = params.top_k > 0 && params.top_k < row.vocab, top_p = params.top_p < 1;
  double total = top_k ? 0 : weight_sum<L>(row);
  std::span<Candidate> kept =
      collect_top<L>(row, top_k ? params.top_k : 1, (top_p ? params.top_p : u) * total);
  if (top_k) {
    const auto k = std::min(kept.size(), static_cast<size_t>(params.top_k));
    if (k < kept.size()) std::nth_element(kept.begin(), kept.begin() + k, kept.end(), before);
    kept = kept.first(k);
    for (const Candidate& candidate : kept) total += candidate.weight;
  }
  if (top_p) {
    const Prefix nucleus = shortest_prefix(kept, params.top_p * total, /*exceed=*/false);
    kept = kept.first(nucleus.length);
    total = nucleus.mass;
  }
  const Prefix drawn = shortest_prefix(kept, u * total, /*exceed=*/true);
  return key_id(kept[drawn.length - 1].key);
}

template <Level L>
double full_log_sum_exp(const float* logits, int64_t vocab) {
  static thread_local std::vector<BlockSum> blocks;
  blocks.resize(softmax_blocks(vocab));
  for (size_t b = 0; b < blocks.size(); ++b) {
    const int64_t start = static_cast<int64_t>(b) * softmax_block;
    blocks[b] = block_sum<L>(logits + start, std::min(softmax_block, vocab - start));
  }
  return log_sum_exp(blocks.data(), static_cast<int64_t>(blocks.size()));
}

template <Level L>
Draw sample_at(const float* logits, int64_t vocab, const SamplingParams& params,
               const Tokens* banned, double u) {
  const float* allowed = logits;
  if (banned && !banned->empty()) {
    auto& masked = scratch().masked;
    masked.assign(logits, logits + vocab);
    for (TokenId id : *banned)
      if (id >= 0 && id < vocab) masked[id] = -INFINITY;
    allowed = masked.data();
  }
  const Peak peak = ops::peak<L>(allowed, vocab);
  if (peak.nan || !std::isfinite(peak.logit))
    throw Error(
        ErrorCode::non_finite,
        "sample: no token has a finite logit; the model's weights or activations overflowed. "
        "Fetch the model again, or train it with a lower learning rate.");
  const int64_t token = params.temperature > 0
                            ? draw<L>({allowed, vocab, peak.logit, params.temperature}, params, u)
                            : peak.id;
  return {static_cast<TokenId>(token),
          static_cast<float>(logits[token] - full_log_sum_exp<L>(logits, vocab))};
}

}  // namespace

Draw sample(const float* logits, int64_t vocab, const SamplingParams& params, const Tokens* banned,
            double u) {
  if (!fast_path()) return reference::sample(logits, vocab, params, banned, u);
  Draw drawn;
  at_level([&]<Level L>() { drawn = sample_at<L>(logits, vocab, params, banned, u); });
  count_fast_run(Op::sample);
  return drawn;
}

}  // namespace cream::ops
