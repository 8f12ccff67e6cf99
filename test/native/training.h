// Settings, pairs and examples for tests of training on tiny models.
#pragma once

#include "score/scorer.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

namespace training {

using namespace cream;

inline TrainerParams params_of(double learning_rate, int64_t micro_batch_tokens = 2048,
                               bool checkpointing = true) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = learning_rate;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.optimizer.max_grad_norm = 0;
  params.micro_batch_tokens = micro_batch_tokens;
  params.activation_checkpointing = checkpointing;
  return params;
}

// Pairs of unequal lengths, some with one-token completions; the reference is the model itself.
inline std::vector<PreferencePair> pairs_for(const Transformer& model, double consistency,
                                             size_t count = 4) {
  std::vector<PreferencePair> pairs;
  for (size_t i = 0; i < count; ++i) {
    PreferencePair pair{check::tiny_tokens(3 + 4 * i, i),
                        check::tiny_tokens(1 + 5 * i, 50 + i),
                        check::tiny_tokens(9 - 2 * i, 90 + i),
                        0,
                        0,
                        consistency};
    ScoringRequest request;
    request.groups.push_back({pair.prompt, {pair.chosen, pair.rejected}});
    const ScoringResult scored = score(model, request, {}, Cancel());
    pair.reference_chosen = scored.sums[0];
    pair.reference_rejected = scored.sums[1];
    pairs.push_back(pair);
  }
  return pairs;
}

inline std::vector<SftExample> examples() {
  return {{check::tiny_tokens(5, 1), check::tiny_tokens(7, 2)},
          {check::tiny_tokens(2, 3), check::tiny_tokens(1, 4)},
          {check::tiny_tokens(11, 5), check::tiny_tokens(20, 6)}};
}

inline std::vector<Tensor> snapshot(Transformer& model) {
  std::vector<Tensor> values;
  for (auto& [name, tensor] : model.weights().parameters(model.config()))
    values.push_back(tensor->clone());
  return values;
}

inline void check_same_weights(Transformer& a, Transformer& b) {
  const auto left = a.weights().parameters(a.config()), right = b.weights().parameters(b.config());
  for (size_t i = 0; i < left.size(); ++i) CHECK(at::equal(*left[i].second, *right[i].second));
}

}  // namespace training
