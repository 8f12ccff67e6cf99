// The sampling rule with a full sort, in double; sample's fast path must reproduce it token for
// token.
//   order   falling logit, ties by rising id; p = softmax(logits / T) over tokens not banned
//   top-k   keep the first k and renormalise
//   top-p   keep the shortest prefix whose sum is ≥ top_p (at least one token)
//   draw    the first kept token at which the running sum exceeds u · (sum of the kept tokens)
#include "ops/sample/op.h"
#include "support/torch.h"

namespace cream::ops::reference {
namespace {

// The index at which a running sum reaches `mass` (`exceed`: passes it); the last if rounding
// keeps it from getting there.
int64_t crossing(const Tensor& running, double mass, bool exceed) {
  const int64_t at =
      at::searchsorted(running, at::scalar_tensor(mass, running.options()), false, exceed)
          .item<int64_t>();
  return std::min(at, running.size(0) - 1);
}

}  // namespace

Draw sample(const float* logits, int64_t vocab, const SamplingParams& params, const Tokens* banned,
            double u) {
  at::NoGradGuard no_grad;
  const Tensor raw = at::from_blob(const_cast<float*>(logits), {vocab}, at::kFloat).to(at::kDouble);
  Tensor allowed = raw.clone();
  if (banned)
    for (TokenId id : *banned)
      if (id >= 0 && id < vocab) allowed[id] = -INFINITY;
  auto [sorted, order] = at::sort(allowed, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const double highest = sorted[0].item<double>();
  if (!std::isfinite(highest))
    throw Error(
        ErrorCode::non_finite,
        "sample: no token has a finite logit; the model's weights or activations overflowed. "
        "Fetch the model again, or train it with a lower learning rate.");

  sorted = sorted.narrow(
      0, 0,
      sorted.isfinite().sum().item<int64_t>());  // excludes banned tokens even if u is 1 − 2⁻⁵³

  int64_t index = 0;
  if (params.temperature > 0) {
    if (params.top_k > 0 && params.top_k < sorted.size(0))
      sorted = sorted.narrow(0, 0, params.top_k);
    Tensor running = ((sorted - highest) / params.temperature).exp().cumsum(0);
    if (params.top_p < 1) {
      const double mass = params.top_p * running[-1].item<double>();
      running = running.narrow(0, 0, crossing(running, mass, /*exceed=*/false) + 1);
    }
    index = crossing(running, u * running[-1].item<double>(), /*exceed=*/true);
  }
  const int64_t token = order[index].item<int64_t>();
  const double logprob = raw[token].item<double>() - raw.logsumexp(0).item<double>();
  return Draw{static_cast<TokenId>(token), static_cast<float>(logprob)};
}

}  // namespace cream::ops::reference
