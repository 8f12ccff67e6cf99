// Settings, pairs and examples for tests of training on several ranks.
#pragma once

#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

namespace rank_training {

using namespace cream;

inline TrainerParams rank_params(OptimizerForms forms = {}) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 1e-3;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.optimizer.max_grad_norm = 0.5;
  params.optimizer.forms = forms;
  params.micro_batch_tokens = 40;
  return params;
}

inline std::vector<PreferencePair> pairs_of(size_t count) {
  std::vector<PreferencePair> pairs;
  for (size_t i = 0; i < count; ++i)
    pairs.push_back({check::tiny_tokens(3 + 4 * i, i), check::tiny_tokens(1 + 5 * i, 50 + i),
                     check::tiny_tokens(9 - 2 * i, 90 + i), -20.0 - i, -22.0, 0.8});
  return pairs;
}

inline std::vector<SftExample> examples_of() {
  return {{check::tiny_tokens(5, 1), check::tiny_tokens(7, 2)},
          {check::tiny_tokens(2, 3), check::tiny_tokens(1, 4)},
          {check::tiny_tokens(11, 5), check::tiny_tokens(20, 6)}};
}

// Far below a layer, so that buckets are sent at many points of a backward pass.
inline constexpr uint64_t kBucket = 3000;

}  // namespace rank_training
