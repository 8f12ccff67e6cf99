// AdamW over a model's parameters: fp32 master weights, moments and gradient accumulators; the compute weights are rewritten each step.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/torch.h"
#include "support/types.h"

namespace cream {

struct OptimizerEntry {
  std::string name;
  Tensor weight;     // compute copy, owned by the model
  Tensor master;     // fp32; the same tensor as weight where the model is fp32
  Tensor m, v, gradient;  // fp32
  bool decay;        // weight decay applies: matrices, not norms
};

class Optimizer {
 public:
  Optimizer(std::vector<std::pair<std::string, Tensor>> weights, OptimizerParams params);

  std::vector<OptimizerEntry>& entries() { return entries_; }
  const OptimizerParams& params() const { return params_; }
  int64_t step_count() const { return step_; }
  void set_step_count(int64_t step) { step_ = step; }

  struct Applied {
    double grad_norm, learning_rate;
  };
  // Clips by global norm, updates, zeroes the gradients. Throws Error{non_finite} and changes nothing if the norm is not finite.
  Applied step();

 private:
  std::vector<OptimizerEntry> entries_;
  OptimizerParams params_;
  int64_t step_ = 0;
};

}  // namespace cream
