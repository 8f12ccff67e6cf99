// Head, log-softmax, gather, loss and their gradients in one pass over chunks of rows; the full
// [rows, vocab] logits are never in memory.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/linear/op.h"
#include "support/torch.h"
#include "support/types.h"

namespace cream {

// One pair: hidden rows chosen_begin … chosen_end − 1 predict the chosen completion's tokens;
// likewise for rejected.
struct PairRows {
  int64_t chosen_begin, chosen_end;
  int64_t rejected_begin, rejected_end;
  double reference_chosen, reference_rejected;  // summed reference log-probs
  double weight;                                // C in [0, 1]
  double scale;  // factor of this pair's loss in the batch loss: 1 / pairs per optimizer step
  double base_chosen = 0, base_rejected = 0;  // log-probs under θ_0, for the KL penalty
  double kl_baseline = 0;                     // KTO's z_0
};

struct PairOutcome {
  double loss;  // unscaled, the KL penalty included
  double kl;    // nats; 0 where the coefficient is 0
  double logp_chosen, logp_rejected;
  double reward_chosen, reward_rejected;
};

struct HeadGradient {
  double loss = 0;  // Σ scale · loss
  Tensor d_hidden;  // [rows, hidden], hidden's dtype: gradient of `loss`
};

// Rows whose logits are in memory at once: about two pairs of average length, so that the head's
// gradient is read and written once for both; 126 MB at a vocabulary of 49,152.
inline constexpr int64_t kHeadChunkRows = 640;
// kHeadChunkRows on a device, for a micro-batch of `rows` rows: more, so that the head's gradient
// is read and written less often, but not so many that their logits exceed a layer's activations.
inline int64_t device_head_chunk_rows(int64_t rows) {
  return std::clamp<int64_t>(rows / 4, kHeadChunkRows, 2048);
}

// hidden [rows, hidden] (after the final norm; fp32 or bf16), targets [rows] int64. Adds to
// `head_gradient` [vocab, hidden] fp32, or computes no gradient of the head where it is undefined.
// Replaces `outcomes`, one entry per pair. Logits of a pair with more than chunk_rows rows are
// computed twice. A non-finite loss is returned, not thrown.
HeadGradient linear_preference(const Tensor& hidden, const Head& head, const Tensor& targets,
                               const std::vector<PairRows>& pairs, const PreferenceLoss& loss,
                               Tensor& head_gradient, std::vector<PairOutcome>& outcomes,
                               int64_t chunk_rows = kHeadChunkRows);

// Cross entropy: loss = Σ weight_of_row · −log p(target). row_weights [rows] fp32.
HeadGradient linear_cross_entropy(const Tensor& hidden, const Head& head, const Tensor& targets,
                                  const Tensor& row_weights, Tensor& head_gradient,
                                  int64_t chunk_rows = kHeadChunkRows);

}  // namespace cream
