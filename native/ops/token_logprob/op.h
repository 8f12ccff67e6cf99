// Log-softmax at one target a row, and its gradient, over logits that are already there (one chunk
// of them).
//
//   logprob[i] = logits[i, target[i]] − log Σ_j exp(logits[i, j])
//   d logits[i, j] = coefficient[i] · (1[j = target[i]] − exp(logits[i, j] − logsumexp[i]))
//
// A soft-capped head (Gemma 2) may leave the cap to these: with cap c > 0 the formulas hold for
// c·tanh(logits / c), and the gradient is that of the logits before the cap.
//
// No softmax matrix is stored: the gradient is made from the logits and the row's log-sum-exp,
// straight in the dtype that the gradient GEMMs read, in one pass.
#pragma once

#include "support/torch.h"

namespace cream::ops {

struct TokenLogprob {
  Tensor logprob;    // [rows] fp32
  Tensor logsumexp;  // [rows] fp32
};

// logits [rows, vocab] fp32 contiguous, targets [rows] int64 within the vocabulary.
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap = 0);

// coefficient [rows] fp32: d loss / d logprob. `dtype`: fp32 or bf16. Consumes the logits: an fp32
// gradient is written over them.
Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap = 0);

namespace device {
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap);
Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap);
}  // namespace device

namespace reference {
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap = 0);
Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap = 0);
}  // namespace reference

}  // namespace cream::ops
