// AdamW over a model's parameters: fp32 master weights, moments and gradient accumulators; the
// compute weights are rewritten each step.
//
// At a learning rate of 1e-6 an update is smaller than half a bf16 step, so bf16 weights alone
// would never move: the masters hold what the rounding would lose. 16 bytes a parameter beside the
// model; 6 in the forms that save memory (OptimizerForms).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/adamw/op.h"
#include "support/torch.h"
#include "support/types.h"

namespace cream {

using NamedTensor = std::pair<std::string, Tensor>;

// On the weight's device; the weight's storage is the model's. Shapes and forms of the rest:
// ops/adamw/op.h.
struct OptimizerEntry : ops::AdamWState {
  std::string name;
  bool decay = false;  // weight decay applies: matrices, not norms (Hugging Face Trainer's rule)
};

// Bytes that an Optimizer keeps of a parameter, or of several: what entries are made of, for
// whoever plans before there are any.
struct OptimizerBytes {
  uint64_t masters = 0, states = 0, gradients = 0;  // masters: beside the weight
};
OptimizerBytes optimizer_bytes(const std::string& name, const std::vector<int64_t>& shape,
                               bool half, const OptimizerForms& forms);

class Optimizer {
 public:
  // `masters`: fp32 values by parameter name, taken over, for a model whose weights are a rounded
  // copy of them; names not listed start from the weight itself. Where masters are split they are
  // copied instead, and may be let go of. Throws Error{invalid_argument} for an unknown name or a
  // wrong shape or dtype.
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
  // Clips by global norm, updates, zeroes the gradients. Throws Error{non_finite} and changes
  // nothing if the norm is not finite.
  Applied step();
  void zero_gradients();
  uint64_t bytes() const;  // of all entries, beside the weights
  void rewrite_weights();  // compute weights ← masters, after masters were read from a file; split
                           // ones hold the weights already

 private:
  std::vector<OptimizerEntry> entries_;
  OptimizerParams params_;
  int64_t step_ = 0;
};

}  // namespace cream
