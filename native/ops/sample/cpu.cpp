// The reference's rule without its full sort. Tokens with relevant mass lie within a few
// temperatures of the highest logit, so bands of tokens are collected and sorted downwards from it
// until their mass suffices for top-p (or for u), or there are top-k of them. Masses are sums of
// doubles, so the draw equals the reference's unless u falls within about 1e−15 of a boundary.
#include "ops/sample/op.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/dispatch.h"
#include "ops/sample/kernel.h"
#include "ops/softmax_block.h"

namespace cream::ops {
namespace {

struct Row {
  const float* logits;  // banned tokens at −inf
  int64_t vocab;
  double max, temperature;
  double weight(uint64_t key) const {
    return std::exp((double{logits[key_id(key)]} - max) / temperature);
  }
};

// Scratch memory, kept between calls: a step samples dozens of rows on each thread.
struct Scratch {
  std::vector<float> masked;
  std::vector<uint64_t> keys;
  std::vector<double> running;
};
Scratch& scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// The highest tokens in nucleus order with their running weights: at least `least` tokens and more
// than `mass` of weight, or all finite ones. Works band by band from the top, so a token is sorted
// only within its band. Returns their number.
template <Level L>
int64_t collect_top(const Row& row, int64_t least, double mass) {
  auto& [masked, keys, running] = scratch();
  keys.resize(row.vocab);
  running.resize(row.vocab);
  int64_t count = 0;
  double sum = 0, window = 4;
  float high = INFINITY;
  for (bool last = false; !last; window *= 1.3) {
    float low = static_cast<float>(row.max - window * row.temperature);
    // Each band must reach further down than the last one. If rounding prevents this, or far below
    // the maximum, all remaining tokens are taken.
    last = window > 1000 || !(low < high) || !std::isfinite(low);
    if (last) low = -std::numeric_limits<float>::max();
    const int64_t found = count + collect<L>(row.logits, row.vocab, low, high, keys.data() + count);
    std::sort(keys.begin() + count, keys.begin() + found);
    for (; count < found; ++count) running[count] = sum += row.weight(keys[count]);
    last = last || (count >= least && sum > mass);
    high = low;
  }
  return count;
}

template <Level L>
int64_t draw(const Row& row, const SamplingParams& params, double u) {
  auto& [masked, keys, running] = scratch();
  const bool top_k = params.top_k > 0 && params.top_k < row.vocab, top_p = params.top_p < 1;
  double total = top_k ? 0 : weight_sum<L>(row.logits, row.vocab, row.max, 1 / row.temperature);
  int64_t count = collect_top<L>(row, top_k ? params.top_k : 1, (top_p ? params.top_p : u) * total);
  if (top_k) {
    count = std::min(count, params.top_k);
    total = running[count - 1];
  }
  const auto first = running.begin();
  if (top_p) {
    count = std::min<int64_t>(
        count, std::lower_bound(first, first + count, params.top_p * total) - first + 1);
    total = running[count - 1];
  }
  const int64_t chosen = std::upper_bound(first, first + count, u * total) - first;
  return key_id(keys[std::min(chosen, count - 1)]);
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
