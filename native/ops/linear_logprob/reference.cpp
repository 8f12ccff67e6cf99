// logits[target] − log Σ exp(logits), chunks of rows × the whole vocabulary, in fp32.
#include "ops/linear_logprob/op.h"

#include "ops/softcap/op.h"

namespace cream::ops::reference {

Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets) {
  at::NoGradGuard no_grad;
  constexpr int64_t chunk = 256;
  const int64_t rows = hidden.size(0);
  Tensor out = at::empty({rows}, hidden.options().dtype(at::kFloat));
  for (int64_t start = 0; start < rows; start += chunk) {
    const int64_t n = std::min(chunk, rows - start);
    Tensor logits = linear_f32(hidden.narrow(0, start, n), head.weight);  // [n, vocab]
    logits.mul_(head.multiplier);
    softcap_(logits, head.softcap);
    const Tensor chosen = logits.gather(1, targets.narrow(0, start, n).unsqueeze(1)).squeeze(1);
    out.narrow(0, start, n).copy_(chosen - logits.logsumexp(1));
  }
  return out;
}

}  // namespace cream::ops::reference
