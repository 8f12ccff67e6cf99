#include "generate/top_logprobs.h"

#include <algorithm>

#include "generate/scheduler.h"
#include "ops/token_logprob/op.h"

namespace cream {

int64_t most_top_logprobs(const Sequences& sequences) {
  int64_t most = 0;
  for (const SequencePtr& sequence : sequences)
    most = std::max(most, sequence->generation->request.top_logprobs);
  return most;
}

Tensor top_logprobs(const Tensor& logits, int64_t count) {
  const auto [values, ids] = at::topk(logits, count, /*dim=*/1);  // [rows, count]
  const Tensor sums =
      ops::token_logprob(logits, ids.select(1, 0).contiguous()).logsumexp.unsqueeze(1);
  const Tensor logprobs = values - sums;
  return at::cat({ids.to(at::kInt), logprobs.view(at::kInt)}, /*dim=*/1).t();
}

}  // namespace cream
