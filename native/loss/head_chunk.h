// The head on one chunk of rows: log-probs first, then gradients, given the loss's derivative with
// respect to each log-prob. Both losses use it.
#pragma once

#include "ops/linear/op.h"
#include "ops/token_logprob/op.h"
#include "support/torch.h"

namespace cream {

class HeadChunk {
 public:
  // hidden [n, hidden], targets [n] int64. Computes the logits [n, vocab] fp32 and keeps them.
  HeadChunk(Tensor hidden, const Head& head, Tensor targets);

  const Tensor& logprob() const { return token_.logprob; }  // [n] fp32

  // coefficient [n] fp32: d loss / d logprob. Adds to head_gradient [vocab, hidden] fp32 unless
  // that is undefined; returns d loss / d hidden [n, hidden] in hidden's dtype. May be called once,
  // because it overwrites the logits.
  Tensor backward(const Tensor& coefficient, Tensor& head_gradient);

 private:
  Tensor hidden_, targets_, logits_;
  const Head& head_;
  ops::TokenLogprob token_;
  double cap_ = 0;  // soft cap not yet applied to logits_; 0: none
};

}  // namespace cream
