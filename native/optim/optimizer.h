// AdamW over a model's parameters with fp32 master weights, moments and gradient accumulators. Each
// step rewrites the compute weights.
//
// At a learning rate of 1e-6 an update is smaller than half a bf16 step, so bf16 weights alone
// would never change; the master weights keep the part that rounding loses. Takes 16 bytes per
// parameter in addition to the model, 6 in the forms that save memory (OptimizerForms).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/adamw/op.h"
#include "support/torch.h"
#include "support/types.h"

namespace cream {

using NamedTensor = std::pair<std::string, Tensor>;

// All tensors are on the weight's device; the weight shares storage with the model. Shapes and
// forms: ops/adamw/op.h.
struct OptimizerEntry : ops::AdamWState {
  std::string name;
  bool decay = false;  // weight decay applies: matrices, not norms (Hugging Face Trainer's rule)
};

// Bytes that an Optimizer keeps for one parameter, or a sum over several; used by the memory plan.
struct OptimizerBytes {
  uint64_t masters = 0, states = 0, gradients = 0;  // masters: in addition to the weight
};
OptimizerBytes optimizer_bytes(const std::string& name, const std::vector<int64_t>& shape,
                               bool half, const OptimizerForms& forms);

class Optimizer {
 public:
  // `masters`: fp32 start values by parameter name, for a model with rounded weights; other
  // parameters start from the weight itself. The optimizer keeps these tensors; split masters are
  // copied from them instead. Throws Error{invalid_argument} for an unknown name or a wrong shape
  // or dtype.
  Optimizer(const std::vector<NamedTensor>& weights, OptimizerParams params,
            const std::vector<NamedTensor>& masters = {});

  std::vector<OptimizerEntry>& entries() { return entries_; }
  const std::vector<OptimizerEntry>& entries() const { return entries_; }
  OptimizerEntry& entry(const std::string& name);
  const OptimizerParams& params() const { return params_; }
  int64_t step_count() const { return step_; }
  void set_step_count(int64_t step) { step_ = step; }

  struct Applied {
    double grad_norm, learning_rate;
  };
  // Clips by global norm, updates, and zeroes the gradients. Throws Error{non_finite} before any
  // change if the norm is not finite.
  Applied step();
  void zero_gradients();
  uint64_t bytes() const;  // of all entries, without the weights
  // Sets the compute weights from the masters after these were loaded. Split masters include the
  // weights already.
  void rewrite_weights();

 private:
  std::vector<OptimizerEntry> entries_;
  OptimizerParams params_;
  int64_t step_ = 0;
};

}  // namespace cream
