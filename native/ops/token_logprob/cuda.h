// Log-softmax at a target and its gradient on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

namespace cream::ops {

struct TokenLogprobCuda {
  const float* logits;
  const int64_t* targets;
  float *logprob, *logsumexp;
  int64_t rows, vocab;
  float cap;
};
int token_logprob_cuda(const TokenLogprobCuda& call, void* stream);

template <class T>
struct TokenLogprobGradientCuda {
  const float *logits, *logsumexp;
  const int64_t* targets;
  const float* coefficient;
  T* d_logits;
  int64_t rows, vocab;
  float cap;
};
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<uint16_t>& call, void* stream);
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<float>& call, void* stream);

}  // namespace cream::ops
