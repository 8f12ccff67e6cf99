// Log-softmax at one target a row, and its gradient, over logits that are already there (one chunk of them).
//
//   logprob[i] = logits[i, target[i]] − log Σ_j exp(logits[i, j])
//   d logits[i, j] = coefficient[i] · (1[j = target[i]] − exp(logits[i, j] − logsumexp[i]))
//
// No softmax matrix is stored: the gradient is made from the logits and the row's log-sum-exp, straight in the dtype that
// the gradient GEMMs read, in one pass.
#pragma once

#include "support/torch.h"

namespace cream::ops {

struct TokenLogprob {
  Tensor logprob;    // [rows] fp32
  Tensor logsumexp;  // [rows] fp32
};

// logits [rows, vocab] fp32 contiguous, targets [rows] int64 within the vocabulary.
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets);

// coefficient [rows] fp32: d loss / d logprob. `dtype`: fp32 or bf16. Consumes the logits: an fp32 gradient is written over them.
Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets, const Tensor& coefficient,
                              at::ScalarType dtype);

namespace reference {
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets);
Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets, const Tensor& coefficient,
                              at::ScalarType dtype);
}  // namespace reference

}  // namespace cream::ops
