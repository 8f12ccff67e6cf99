// Trains a model in place. One call is one optimizer step over all the pairs or examples given; micro-batches are cut inside.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/transformer.h"
#include "optim/optimizer.h"
#include "support/types.h"

namespace cream {

class Trainer {
 public:
  // `masters`: fp32 values to start from, by engine parameter name, where the model's own weights are a rounded copy; may be empty.
  Trainer(Transformer& model, TrainerParams params, const std::vector<std::pair<std::string, Tensor>>& masters);

  StepMetrics preference_step(const std::vector<PreferencePair>& pairs, const Cancel& cancel);
  StepMetrics sft_step(const std::vector<SftExample>& examples, const Cancel& cancel);

  // Optimizer state, step count and master weights, to one safetensors file (temporary, fsync, rename); restores exactly.
  void save_state(const std::string& path) const;
  void load_state(const std::string& path);

  Optimizer& optimizer() { return optimizer_; }

 private:
  Transformer& model_;
  TrainerParams params_;
  Optimizer optimizer_;
};

}  // namespace cream
