// One row at a time, raw pointers: the file for one instruction set includes no torch header.
#pragma once

#include <cstdint>

namespace cream::ops {

bool has_nan_avx512(const float* logits, int64_t n);
// out[j] = scale · exp(logits[j] − logsumexp); fp32 (may be `logits` itself) or bf16 bits. The target's entry is the caller's.
void row_softmax_f32_avx512(const float* logits, float* out, int64_t vocab, float logsumexp, float scale);
void row_softmax_bf16_avx512(const float* logits, uint16_t* out, int64_t vocab, float logsumexp, float scale);

}  // namespace cream::ops
