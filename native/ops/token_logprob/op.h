// Log-softmax at one target per row, and its gradient, from one chunk of logits.
//
//   logprob[i] = logits[i, target[i]] − log Σ_j exp(logits[i, j])
//   d logits[i, j] = coefficient[i] · (1[j = target[i]] − exp(logits[i, j] − logsumexp[i]))
//
// With cap c > 0 (a soft-capped head, Gemma 2) the formulas hold for c·tanh(logits / c), and the
// gradient is that of the logits before the cap.
//
// No softmax matrix is stored: one pass over the logits with the row's log-sum-exp writes the
// gradient, directly in the dtype of the gradient GEMMs.
#pragma once

#include "support/torch.h"

namespace cream::ops {

struct TokenLogprob {
  Tensor logprob;    // [rows] fp32
  Tensor logsumexp;  // [rows] fp32
};

// logits [rows, vocab] fp32 contiguous, targets [rows] int64 within the vocabulary.
TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap = 0);

// coefficient [rows] fp32: d loss / d logprob. dtype: fp32 or bf16. Consumes the logits: on a CPU
// the gradient lies in their memory, on a device an fp32 gradient does.
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
