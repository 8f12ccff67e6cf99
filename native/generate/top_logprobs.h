// The most likely next tokens, for the requests that ask for them.
#pragma once

#include "generate/sequence.h"

namespace cream {

// The most that a request of these sequences asks for; 0: none asks.
int64_t most_top_logprobs(const Sequences& sequences);

// The `count` most likely tokens of each row of logits [rows, vocab] fp32, the likeliest first:
// [2 · count, rows] int32, `count` rows of token ids, then as many of the
// bits of their fp32 log-probs over the full vocabulary at temperature 1.
Tensor top_logprobs(const Tensor& logits, int64_t count);

}  // namespace cream
