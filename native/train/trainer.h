// Trains a model in place: only its adapter where it has one, else all weights. One call is one
// optimizer step over all given pairs or examples, which are cut into micro-batches.
//
// Every step writes to the storage of the trainable parameters, so snapshots must not share it.
// With several ranks (native/parallel) all of them make the same calls with the same arguments: a
// step's items are dealt to the ranks, and loss, metrics, clipping and update are of the whole
// batch. Gradients and states of full weights are sharded, those of an adapter are kept by every
// rank.
//
// Used only on the model's worker thread; the Trainer must not outlive the model. The model may
// sample and score between steps: its weights, packed copies included, are those of the last
// finished step. Where the weights are sharded (TrainerParams::shard_weights), only after
// gather_weights(), until the next step.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "loss/linear_preference.h"
#include "model/packing.h"
#include "model/transformer.h"
#include "optim/optimizer.h"
#include "support/types.h"
#include "train/backward.h"
#include "train/sharded_weights.h"

namespace cream {

class Trainer {
 public:
  // `masters`: fp32 start values by engine parameter name, for a model with rounded weights; may be
  // empty. The trainer keeps these tensors and writes to them.
  Trainer(Transformer& model, TrainerParams params, const std::vector<NamedTensor>& masters,
          Group& group = single_group(), uint64_t bucket_elements = kBucketElements,
          const Cancel& cancel = Cancel());

  // The loss is the mean over the pairs. Throws Error{invalid_argument} for a pair beyond the
  // context, Error{non_finite} for a NaN or infinite loss or gradient, Error{aborted}. After an
  // error the model and the optimizer are unchanged.
  StepMetrics preference_step(const std::vector<PreferencePair>& pairs, const Cancel& cancel);
  // The loss is the mean over the completion tokens of all examples. Errors as above.
  StepMetrics sft_step(const std::vector<SftExample>& examples, const Cancel& cancel);

  // Writes optimizer state, step count and master weights atomically to a safetensors file: of the
  // whole model, or, where they are sharded, of this rank's shard. Each rank has a path of its own;
  // if every rank keeps everything, rank 0 writes.
  void save_state(const std::string& path) const;
  // Restores the state exactly, on any number of ranks: `paths` are the files of all ranks that
  // saved it, in their order. Throws Error{not_found | invalid_file | invalid_argument} where a
  // file belongs to another model or was saved with other settings; then nothing has changed.
  // A cancel is heard until the first value is about to change.
  void load_state(const std::vector<std::string>& paths, const Cancel& cancel = Cancel());

  // fp32 values of the trainable parameters, by engine name. They share storage with the trainer,
  // except that split masters are joined into new tensors on the CPU, and sharded ones gathered;
  // those are returned to rank 0 only.
  std::vector<NamedTensor> masters() const;
  // Gathers sharded weights; all ranks must call it. The model keeps them if the trainer ends next.
  void gather_weights();
  // Whether the model has its weights: they are not sharded, or are gathered.
  bool has_weights() const { return !sharded_ || sharded_->whole(); }
  // Rank 0 of the trainer's ranks writes files.
  bool writes() const { return optimizer_.group().rank() == 0; }
  Optimizer& optimizer() { return optimizer_; }
  const TrainerParams& params() const { return params_; }
  // Bytes kept between steps, in addition to the model's.
  uint64_t bytes() const { return optimizer_.bytes(); }

 private:
  // accumulate(pass) computes this rank's micro-batch of a pass; a rank may have none.
  template <class Accumulate>
  StepMetrics step(size_t passes, const Accumulate& accumulate);
  template <class Accumulate>
  void accumulate_all(size_t passes, const Accumulate& accumulate, StepMetrics& metrics);
  // Calls `check` on all ranks; throws on all of them where it does so on one.
  void agree(const std::function<void()>& check) const;
  DropoutPass dropout_pass(size_t pass) const;
  void require_finite(double loss, const std::string& where) const;
  void weights_changed();

  Transformer& model_;
  TrainerParams params_;
  std::optional<ShardedWeights> sharded_;
  Optimizer optimizer_;
  Backward backward_;
};

}  // namespace cream
