// AdamW over a model's parameters with fp32 master weights, moments and gradient accumulators. Each
// step rewrites the compute weights.
//
// At a learning rate of 1e-6 an update is smaller than half a bf16 step, so bf16 weights alone
// would never change; the master weights keep the part that rounding loses. Takes 16 bytes per
// parameter in addition to the model, 6 in the forms that save memory (OptimizerForms).
//
// With several ranks every rank accumulates the gradients of its part of the batch. A step adds
// them up. Each rank then updates its own shard of every parameter, so that master weights and
// moments exist once among all ranks, and the weights are gathered (ZeRO, Rajbhandari et al. 2020,
// arXiv:1910.02054). For adapters every rank keeps all states and makes the same update. An update
// is per element, so results do not depend on how parameters are sharded.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/adamw/op.h"
#include "parallel/group.h"
#include "support/torch.h"
#include "support/types.h"

namespace cream {

using NamedTensor = std::pair<std::string, Tensor>;

// All tensors are on the weight's device; the weight shares storage with the model. Shapes and
// forms: ops/adamw/op.h. Where the states are sharded, the tensors of AdamWState are flat and hold
// the own shard.
struct OptimizerEntry : ops::AdamWState {
  std::string name;
  bool decay = false;  // weight decay applies: matrices, not norms (Hugging Face Trainer's rule)
  Tensor parameter;    // the whole weight
  // Where backward passes add the gradient: of the parameter's shape; the same tensor as `gradient`
  // unless the states are sharded.
  Tensor accumulator;
  Shard shard;    // empty unless the states are sharded
  Tensor padded;  // flat, all shards: the storage of a sharded accumulator
};

// The ranks that update together. The group outlives the optimizer.
struct Distribution {
  Group& group = single_group();
  bool sharded = false;  // false: every rank keeps all states
};

// Bytes that an Optimizer keeps for one parameter, or a sum over several; used by the memory plan.
struct OptimizerBytes {
  uint64_t masters = 0, states = 0, gradients = 0;  // masters: in addition to the weight
};
OptimizerBytes optimizer_bytes(const std::string& name, const std::vector<int64_t>& shape,
                               bool half, const OptimizerForms& forms);

// Elements of all ranks that are sent together; a larger parameter is sent alone.
inline constexpr uint64_t kBucketElements = uint64_t{1} << 24;

class Optimizer {
 public:
  // `masters`: fp32 start values by parameter name, for a model with rounded weights; other
  // parameters start from the weight itself. The optimizer keeps these tensors; split masters are
  // copied from them instead. Throws Error{invalid_argument} for an unknown name or a wrong shape
  // or dtype.
  Optimizer(const std::vector<NamedTensor>& weights, OptimizerParams params,
            const std::vector<NamedTensor>& masters = {}, Distribution distribution = {});

  std::vector<OptimizerEntry>& entries() { return entries_; }
  const std::vector<OptimizerEntry>& entries() const { return entries_; }
  OptimizerEntry& entry(const std::string& name);
  const OptimizerParams& params() const { return params_; }
  int64_t step_count() const { return step_; }
  void set_step_count(int64_t step) { step_ = step; }

  struct Applied {
    double grad_norm, learning_rate;
  };
  // Adds up the gradients of all ranks, clips by global norm, updates, and zeroes the gradients.
  // Throws Error{non_finite} before any change if the norm is not finite.
  Applied step();
  void zero_gradients();
  uint64_t bytes() const;  // of all entries, without the weights
  // Sets the compute weights from the masters after these were loaded. Split masters include the
  // weights already.
  void rewrite_weights();

  Group& group() const { return distribution_.group; }
  // Whether a rank keeps only its shard of every state.
  bool sharded() const { return distribution_.sharded && !group().single(); }
  // The complete tensor of a state of `entry`, of `shape`, on the CPU; `own` is that tensor or this
  // rank's shard of it. All ranks must call it.
  Tensor whole(const OptimizerEntry& entry, const Tensor& own, at::IntArrayRef shape) const;

 private:
  // Parameters whose gradients and weights are sent together.
  struct Bucket {
    std::vector<size_t> entries;
    int64_t stride = 0;  // elements per rank
    Tensor gradient;     // [stride] fp32: this rank's shards of the sum
  };
  void make_buckets();
  void reduce_gradients();
  void reduce_shards(Bucket& bucket);
  void reduce_whole(const Bucket& bucket);
  void gather_weights();
  void gather_weights(const Bucket& bucket);
  double gradient_norm() const;

  Distribution distribution_;
  std::vector<Bucket> buckets_;  // none in a single process
  std::vector<OptimizerEntry> entries_;
  OptimizerParams params_;
  int64_t step_ = 0;
};

}  // namespace cream
