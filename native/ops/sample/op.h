// Samples one token from one row of logits: temperature, top-k, top-p, then the inverse CDF at `u`.
// Tokens are ordered by falling logit, ties by rising id, so the draw does not depend on the
// implementation.
#pragma once

#include <cstdint>

#include "support/types.h"

namespace cream {

struct Draw {
  TokenId token = 0;
  float logprob = 0;  // the token's log-prob: log-softmax of the unmasked logits at temperature 1
};

namespace ops {

// logits: `vocab` fp32 values, not changed. banned: ids that must not be drawn (stop ids before
// min_new_tokens). u in [0, 1). Throws Error{non_finite} if no logit is finite.
Draw sample(const float* logits, int64_t vocab, const SamplingParams& params, const Tokens* banned,
            double u);

namespace reference {
Draw sample(const float* logits, int64_t vocab, const SamplingParams& params, const Tokens* banned,
            double u);  // ATen, full sort
}

}  // namespace ops
}  // namespace cream
