// ops::sample: draws against the exact distribution, and the fast path against the plain one, token
// for token.
#include <map>

#include "check.h"
#include "fast_ops.h"
#include "ops/dispatch.h"
#include "ops/linear_logprob/op.h"
#include "ops/sample/op.h"
#include "support/random.h"

using namespace cream;
using at::Tensor;

namespace {

SamplingParams params(double temperature, double top_p = 1, int64_t top_k = 0) {
  SamplingParams p;
  p.temperature = temperature;
  p.top_p = top_p;
  p.top_k = top_k;
  return p;
}

using Sampler = Draw (*)(const float*, int64_t, const SamplingParams&, const Tokens*, double);

// The nucleus (top-p set) by definition: token → probability.
std::map<TokenId, double> distribution(const std::vector<float>& logits, const SamplingParams& p) {
  std::vector<TokenId> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  if (p.top_k > 0) order.resize(std::min<size_t>(order.size(), p.top_k));
  double total = 0, kept = 0;
  for (TokenId id : order) total += std::exp(logits[id] / p.temperature);
  std::map<TokenId, double> nucleus;
  for (TokenId id : order) {
    nucleus[id] = std::exp(logits[id] / p.temperature);
    kept += nucleus[id];
    if (kept >= p.top_p * total) break;
  }
  for (auto& [id, weight] : nucleus) weight /= kept;
  return nucleus;
}

void check_frequencies(Sampler draw, const SamplingParams& p) {
  at::manual_seed(20);
  const Tensor t = at::randn({60}).mul_(2);
  const std::vector<float> logits(t.data_ptr<float>(), t.data_ptr<float>() + 60);
  const auto expected = distribution(logits, p);
  std::map<TokenId, int64_t> seen;
  constexpr int64_t draws = 20000;
  for (uint32_t i = 0; i < draws; ++i)
    ++seen[draw(logits.data(), 60, p, nullptr, uniform(SampleKey{5, 0, 1, 0}, i)).token];
  double chi2 = 0;
  for (const auto& [id, probability] : expected)
    chi2 += std::pow(seen[id] - draws * probability, 2) / (draws * probability);
  for (const auto& [id, count] : seen) CHECK(count == 0 || expected.count(id));
  // χ² with k degrees of freedom has mean k and variance 2k; the bound is five standard deviations.
  const double k = static_cast<double>(expected.size()) - 1;
  CHECK(chi2 < k + 5 * std::sqrt(2 * k));
}

std::vector<float> row(int64_t vocab, int kind) {
  Tensor t = at::randn({vocab});
  if (kind == 0) t.mul_(3);              // like a model
  if (kind == 1) t = t.mul_(2).round();  // many ties
  if (kind == 2) t.masked_fill_(at::rand({vocab}) < 0.5, -INFINITY);
  if (kind == 3)
    t = at::full({vocab}, -INFINITY)
            .index_put_({at::randint(0, vocab, {1}, at::kLong)}, 1.0);  // one-hot
  if (kind == 4) t = at::zeros({vocab});                                // flat, −0 among them
  if (kind == 4) t.narrow(0, 0, vocab / 2).fill_(-0.0);
  if (kind == 5) t.mul_(0.01).add_(500);  // nearly flat, far from 0
  if (kind == 6) t.mul_(40);              // nearly greedy
  return {t.data_ptr<float>(), t.data_ptr<float>() + vocab};
}

}  // namespace

CHECK_CASE("sample: frequencies of 20,000 draws fit the exact distribution") {
  for (const Sampler draw : {Sampler{ops::sample}, Sampler{ops::reference::sample}}) {
    check_frequencies(draw, params(1));
    check_frequencies(draw, params(0.8, 0.95));
    check_frequencies(draw, params(1.5, 0.7, 20));
    check_frequencies(draw, params(0.5, 1, 7));
  }
}

CHECK_LEVELS("sample: the fast path draws what the plain path draws") {
  at::manual_seed(21);
  const uint64_t before = ops::fast_runs(ops::Op::sample);
  const std::vector<SamplingParams> settings = {params(0),         params(1),
                                                params(0.8, 0.95), params(1, 0.5),
                                                params(2, 1, 10),  params(0.7, 0.9, 50),
                                                params(1.3, 1e-9), params(1, 0.999999, 1)};
  uint32_t position = 0;
  for (int trial = 0; trial < 90; ++trial)
    for (const int64_t vocab : {1, 7, 100, 1500})
      for (int kind = 0; kind < 7; ++kind) {
        const std::vector<float> logits = row(vocab, kind);
        if (*std::max_element(logits.begin(), logits.end()) == -INFINITY) continue;
        const SamplingParams& p = settings[position % settings.size()];
        const double u =
            trial % 30 == 0 ? (trial ? 1 - 0x1p-53 : 0.0) : uniform(SampleKey{}, position);
        ++position;
        const Draw fast = ops::sample(logits.data(), vocab, p, nullptr, u);
        const Draw plain = ops::reference::sample(logits.data(), vocab, p, nullptr, u);
        if (fast.token != plain.token)
          check::fail("kind " + std::to_string(kind) + ", vocabulary " + std::to_string(vocab) +
                          ", u " + std::to_string(u) + ": " + std::to_string(fast.token) +
                          " against " + std::to_string(plain.token),
                      __FILE__, __LINE__);
        CHECK(std::abs(fast.logprob - plain.logprob) <=
              2e-6 * std::max(1.0f, std::abs(plain.logprob)) + 2e-6);
      }
  CHECK(ops::fast_runs(ops::Op::sample) >= before + position);
}

CHECK_LEVELS(
    "sample: temperature 0 takes the lowest id of a tie, and a banned token is never drawn") {
  const std::vector<float> logits = {1, 5, 5, 2, 5};
  const Tokens banned = {1}, all = {0, 1, 2, 3, 4};
  for (const Sampler draw : {Sampler{ops::sample}, Sampler{ops::reference::sample}}) {
    CHECK(draw(logits.data(), 5, params(0), nullptr, 0.9).token == 1);
    CHECK(draw(logits.data(), 5, params(0), &banned, 0.9).token == 2);
    for (uint32_t i = 0; i < 200; ++i)
      CHECK(draw(logits.data(), 5, params(3), &banned, uniform(SampleKey{}, i)).token != 1);
    CHECK(draw(logits.data(), 5, params(1), &banned, 1 - 0x1p-53).token == 0);
    CHECK_THROWS(non_finite, "finite", draw(logits.data(), 5, params(1), &all, 0.5));
    // The log-prob is the model's own; banned tokens and temperature do not change it.
    const double expected = 5 - std::log(3 * std::exp(5.0) + std::exp(1.0) + std::exp(2.0));
    CHECK(std::abs(draw(logits.data(), 5, params(0.3), &banned, 0).logprob - expected) < 1e-6);
    const std::vector<float> broken = {1, NAN, 2};
    CHECK_THROWS(non_finite, "finite", draw(broken.data(), 3, params(1), nullptr, 0.5));
  }
}

CHECK_LEVELS("sample: the log-prob of a draw and linear_logprob of the token are the same bits") {
  at::manual_seed(22);
  Head head{{.weight = at::randn({5003, 64}).to(at::kBFloat16)}};
  ops::pack(head);
  const Tensor hidden = at::randn({40, 64}).to(at::kBFloat16),
               logits = ops::linear_f32(hidden, head);
  Tensor tokens = at::empty({40}, at::kLong), drawn = at::empty({40});
  for (int64_t i = 0; i < 40; ++i) {
    const Draw draw = ops::sample(logits[i].data_ptr<float>(), 5003, params(0.8, 0.95), nullptr,
                                  uniform(SampleKey{}, static_cast<uint32_t>(i)));
    tokens[i] = draw.token;
    drawn[i] = draw.logprob;
  }
  CHECK(at::equal(drawn, ops::linear_logprob(hidden, head, tokens)));
}
