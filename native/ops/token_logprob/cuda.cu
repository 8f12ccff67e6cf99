#include "ops/token_logprob/cuda.h"

#include "ops/token_logprob/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T>
int gradient(const TokenLogprobGradientCuda<T>& c, void* stream) {
  return launch(TokenLogprobGradientBlock<T>{c.logits, c.logsumexp, c.targets, c.coefficient,
                                             c.d_logits, c.vocab, c.cap},
                {c.rows, threads_for(c.vocab)}, stream);
}

}  // namespace

int token_logprob_cuda(const TokenLogprobCuda& c, void* stream) {
  return launch(TokenLogprobBlock{c.logits, c.targets, c.logprob, c.logsumexp, c.vocab, c.cap},
                {c.rows, threads_for(c.vocab)}, stream);
}
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<uint16_t>& call, void* stream) {
  return gradient(call, stream);
}
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<float>& call, void* stream) {
  return gradient(call, stream);
}

}  // namespace cream::ops
