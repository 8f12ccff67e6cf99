// AdamW over a model's parameters with fp32 master weights, moments and gradient accumulators. Each
// step rewrites the compute weights.
//
// At a learning rate of 1e-6 an update is smaller than half a bf16 step, so bf16 weights alone
// would never change; the master weights keep the part that rounding loses. Takes 16 bytes per
// parameter in addition to the model, 6 in the forms that save memory (OptimizerForms).
//
// With several ranks every rank computes gradients of its part of the batch. While a backward pass
// goes on (each, or a step's last), those that are final are added up over the ranks, and each rank
// keeps the sum of its own shard of every parameter. A step updates that shard, so that gradients,
// master weights and moments exist once among all ranks, and the weights are gathered (ZeRO's
// second stage, Rajbhandari et al. 2020, arXiv:1910.02054) or stay sharded (the third). For
// adapters every rank keeps everything: a step adds up the gradients, and all make the same update.
// An update is per element, so results do not depend on how parameters are sharded.
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
  // Receives the gradient of backward passes, in the parameter's shape; the same tensor as
  // `gradient` unless the states are sharded. Then it has memory from open() until its sum is
  // received.
  Tensor accumulator;
  Shard shard;        // empty unless the states are sharded
  Tensor padded;      // flat, all shards: the storage of a sharded accumulator
  bool sent = false;  // its sum has not been received yet
};

inline constexpr uint64_t kBucketElements = uint64_t{1} << 24;

// The ranks that update together. The group outlives the optimizer.
struct Distribution {
  Group& group = single_group();
  bool sharded = false;  // false: every rank keeps all states
  // Elements of all ranks that are sent together; a larger parameter is sent alone.
  uint64_t bucket_elements = kBucketElements;
  // This rank's elements of every parameter, flat, where the weights are sharded too (ZeRO's third
  // stage): a step updates these, and the parameters themselves have no memory.
  std::vector<Tensor> own_weights = {};
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
            const std::vector<NamedTensor>& masters = {}, Distribution distribution = {},
            const Cancel& cancel = Cancel());

  std::vector<OptimizerEntry>& entries() { return entries_; }
  const std::vector<OptimizerEntry>& entries() const { return entries_; }
  OptimizerEntry& entry(const std::string& name);
  size_t index_of(const std::string& name) const;  // of an entry

  // Called around each backward pass if the states are sharded; otherwise they do nothing. All
  // ranks make the same number of passes, some of which may be empty.
  //
  // Whether the gradients of this pass are sent; those of a pass that does not are kept and sent
  // with the next one's.
  void begin_pass(bool sends) { sends_ = sends; }
  // Gives the accumulator of an entry its memory, with zeros, before a pass adds to it.
  void open(size_t entry);
  // Starts the sums over the ranks of the entries from `first` on, which are final in this pass,
  // while the pass continues. Entries are in the order of the forward pass, so calls have
  // descending `first`. An entry that was never opened counts as zeros.
  void send_from(size_t first);
  // The pass is over, or has failed.
  void end_pass();
  const OptimizerParams& params() const { return params_; }
  int64_t step_count() const { return step_; }
  void set_step_count(int64_t step) { step_ = step; }

  struct Applied {
    double grad_norm, learning_rate;
  };
  // Waits for the sums of all ranks, clips by global norm, updates, and zeroes the gradients.
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
  // The complete tensor of a state of `entry`, of `shape`, on the CPU; `own` has a value per
  // element: that tensor, or this rank's shard of it. All ranks must call it.
  Tensor whole(const OptimizerEntry& entry, const Tensor& own, at::IntArrayRef shape) const;

 private:
  // Consecutive parameters whose gradients and weights are sent together.
  struct Bucket {
    std::vector<size_t> entries;
    int64_t stride = 0;  // elements per rank
    Tensor gradient;     // [stride] fp32: this rank's shards of the sum over ranks and passes
    // While the gradients of a pass are under way: [ranks · stride], [stride].
    Tensor sending, received;
    Group::Pending pending;
  };
  struct Gathering {
    const Bucket* bucket;
    Tensor own, all;  // [stride], [ranks, stride]
    Group::Pending pending;
  };
  void make_buckets();
  void send(Bucket& bucket);
  void receive();  // adds what is under way to the own shards
  void reduce_whole(const Bucket& bucket);
  void gather_weights();  // unless they are sharded
  Gathering begin_gathering(const Bucket& bucket);
  void end_gathering(const Gathering& gathering);
  double gradient_norm() const;

  Distribution distribution_;
  std::vector<Bucket> buckets_;    // none in a single process
  bool sends_ = true;              // in the current pass
  size_t unsent_ = 0;              // the first buckets, in the current pass
  std::vector<size_t> under_way_;  // buckets, in the order in which they were sent
  std::vector<OptimizerEntry> entries_;
  OptimizerParams params_;
  int64_t step_ = 0;
};

}  // namespace cream
