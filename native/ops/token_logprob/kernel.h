// One row at a time with raw pointers: files for one instruction set include no torch header.
#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

// out[j] = scale · exp(logits[j] − logsumexp); fp32 or bf16 bits, in either case also in the memory
// of `logits` itself. The caller writes the target's entry.
template <Level L>
void row_softmax(const float* logits, float* out, int64_t vocab, float logsumexp, float scale);
template <Level L>
void row_softmax(const float* logits, uint16_t* out, int64_t vocab, float logsumexp, float scale);

}  // namespace cream::ops
