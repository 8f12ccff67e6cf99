// Sampling on the GPU, two launches; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

#include "ops/sample/block.h"

namespace cream::ops {

struct SampleCuda {
  const float* logits;   // [rows, vocab]
  const SampleRow* row;  // [rows]
  const int32_t* banned;
  int32_t* token;
  float* logprob;
  void* scratch;  // sample_scratch() bytes
  int64_t rows, vocab;
};
int64_t sample_scratch(int64_t rows, int64_t vocab);
int sample_cuda(const SampleCuda& call, void* stream);

}  // namespace cream::ops
