// Head, log-softmax, gather, loss and their gradients in one pass over chunks: no [rows, vocab]
// tensor outlives its chunk.
#pragma once

#include <vector>

#include "ops/linear/op.h"
#include "support/torch.h"
#include "support/types.h"

namespace cream {

// Pair i: chosen predicts hidden rows chosen_begin … chosen_end, rejected likewise.
struct PairRows {
  int64_t chosen_begin, chosen_end, rejected_begin, rejected_end;
  double reference_chosen, reference_rejected, weight;
  double scale;  // of this pair's loss in the batch loss: 1 / pairs per optimizer step
  double base_chosen = 0, base_rejected = 0;  // log-probs under θ_0, for the KL penalty
};

struct PairOutcome {
  double loss;  // unscaled, the KL penalty included
  double kl;    // nats; 0 where the coefficient is
  double logp_chosen, logp_rejected;
  double reward_chosen, reward_rejected;
};

struct HeadGradient {
  double loss = 0;  // Σ scale · loss
  Tensor d_hidden;  // [rows, hidden], hidden's dtype: gradient of `loss`
};

// Rows whose logits exist at once: two pairs of middling length, so that the head's gradient passes
// through memory once for both; 190 MB at a vocabulary of 49,152.
inline constexpr int64_t kHeadChunkRows = 640;

struct PreferenceLoss {
  double beta = 0.1;
  double kl_coefficient = 0;  // 0: no penalty, and nothing is read of base_chosen and base_rejected
};

// hidden [rows, hidden] (after the final norm; fp32 or bf16), targets [rows] int64. `head_gradient`
// [vocab, hidden] fp32 is added to; undefined, no gradient of the head is computed. `outcomes` is
// replaced, one entry a pair. A pair within chunk_rows is computed once, a longer one twice.
// Nothing is thrown for a loss that is not finite: the caller looks.
HeadGradient linear_preference(const Tensor& hidden, const Linear& head, const Tensor& targets,
                               const std::vector<PairRows>& pairs, const PreferenceLoss& loss,
                               Tensor& head_gradient, std::vector<PairOutcome>& outcomes,
                               int64_t chunk_rows = kHeadChunkRows);

// Cross entropy: loss = Σ weight_of_row · −log p(target). row_weights [rows] fp32.
HeadGradient linear_cross_entropy(const Tensor& hidden, const Linear& head, const Tensor& targets,
                                  const Tensor& row_weights, Tensor& head_gradient,
                                  int64_t chunk_rows = kHeadChunkRows);

}  // namespace cream
