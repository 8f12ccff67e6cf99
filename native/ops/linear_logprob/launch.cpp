// The head on a device: logits of as many rows as fit in 256 MB, then one pass over them.
#include "ops/launch.h"
#include "ops/linear_logprob/op.h"
#include "ops/token_logprob/op.h"

namespace cream::ops::device {

Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets) {
  constexpr int64_t logits_at_once = 64 << 20;
  const int64_t rows = hidden.size(0),
                chunk = std::max<int64_t>(64, logits_at_once / head.weight.size(0));
  const Tensor out = at::empty({rows}, hidden.options().dtype(at::kFloat));
  for (int64_t start = 0; start < rows; start += chunk) {
    const int64_t n = std::min(chunk, rows - start);
    Tensor logits = linear_f32(hidden.narrow(0, start, n), head.weight)
                        .contiguous();  // [n, vocab], before the cap
    if (head.multiplier != 1) logits.mul_(head.multiplier);
    out.narrow(0, start, n)
        .copy_(token_logprob(logits, targets.narrow(0, start, n), head.softcap).logprob);
  }
  count_fast_run(Op::linear_logprob);
  return out;
}

}  // namespace cream::ops::device
