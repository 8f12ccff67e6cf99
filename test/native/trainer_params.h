// Usual settings of a trainer, so that a test sets only those that it is about.
#pragma once

#include <vector>

#include "support/types.h"

namespace check {

inline cream::OptimizerParams optimizer_params() {
  cream::OptimizerParams params;
  params.learning_rate = 1e-6;
  params.beta1 = 0.9, params.beta2 = 0.999, params.epsilon = 1e-8;
  params.weight_decay = 0.01;
  params.max_grad_norm = 1;
  params.schedule = cream::Schedule::cosine;
  return params;
}

inline cream::TrainerParams trainer_params() {
  cream::TrainerParams params;
  params.optimizer = optimizer_params();
  params.loss.beta = 0.1;
  params.micro_batch_tokens = 1024;
  params.activation_checkpointing = false;
  return params;
}

// All losses with settings of their own, for tests that go through them.
inline std::vector<cream::PreferenceLoss> all_losses(double beta) {
  using enum cream::LossKind;
  return {{dpo, beta}, {ipo, beta}, {simpo, beta, 0.7}, {kto, beta}, {robust, beta, 0, 0.15}};
}

}  // namespace check
