#include "ops/token_logprob/cuda.h"

#include "ops/token_logprob/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <int N>
int logprob(const TokenLogprobCuda& c, void* stream) {
  return launch(TokenLogprobBlock<N>{c.logits, c.targets, c.logprob, c.logsumexp, c.vocab, c.cap},
                {c.rows, kSliceThreads}, stream);
}

template <class T, int N>
int gradient(const TokenLogprobGradientCuda<T>& c, void* stream) {
  return launch(TokenLogprobGradientBlock<T, N>{c.logits, c.logsumexp, c.targets, c.coefficient,
                                                c.d_logits, c.vocab, c.cap},
                {c.rows, threads_for(c.vocab / N)}, stream);
}
template <class T>
int gradient(const TokenLogprobGradientCuda<T>& c, void* stream) {
  return fits_vectors<4>(c.vocab, {c.logits, c.d_logits}) ? gradient<T, 4>(c, stream)
                                                          : gradient<T, 1>(c, stream);
}

}  // namespace

int token_logprob_cuda(const TokenLogprobCuda& c, void* stream) {
  return fits_vectors<4>(c.vocab, {c.logits}) ? logprob<4>(c, stream) : logprob<1>(c, stream);
}
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<uint16_t>& call, void* stream) {
  return gradient(call, stream);
}
int token_logprob_gradient_cuda(const TokenLogprobGradientCuda<float>& call, void* stream) {
  return gradient(call, stream);
}

}  // namespace cream::ops
