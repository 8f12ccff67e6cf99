// Trains a model in place: its adapter alone where it carries one, else all of its weights. One
// call is one optimizer step over all the pairs or examples given; micro-batches are cut inside.
//
// The storage of what trains is written by every step: whoever shares it (a snapshot) must have
// taken a copy before. One thread, the model's worker; the Trainer must not outlive the model.
// Between steps the model may sample and score: its weights, packed copies included, are those of
// the last finished step.
#pragma once

#include <string>
#include <vector>

#include "loss/linear_preference.h"
#include "model/packing.h"
#include "model/transformer.h"
#include "optim/optimizer.h"
#include "support/types.h"
#include "train/backward.h"

namespace cream {

class Trainer {
 public:
  // `masters`: fp32 values to start from, by engine parameter name, where the model's own weights
  // are a rounded copy; may be empty. They are taken over: the steps write into them.
  Trainer(Transformer& model, TrainerParams params, const std::vector<NamedTensor>& masters);

  // The loss is the mean over the pairs. Throws Error{invalid_argument} for empty or impossible
  // input, Error{non_finite} for a loss or gradient that is NaN or infinite, Error{aborted}; then
  // nothing has changed.
  StepMetrics preference_step(const std::vector<PreferencePair>& pairs, const Cancel& cancel);
  // The loss is the mean over the completion tokens of all examples. Errors as above.
  StepMetrics sft_step(const std::vector<SftExample>& examples, const Cancel& cancel);

  // Optimizer state, step count and master weights, to one safetensors file (temporary, fsync,
  // rename); restores exactly.
  void save_state(const std::string& path) const;
  // Throws Error{not_found | invalid_file | invalid_argument} and changes nothing where the file is
  // another model's or was saved under other settings.
  void load_state(const std::string& path);

  // fp32 values of what trains, by engine name; they share storage with the trainer, but for those
  // made of split masters, on the CPU.
  std::vector<NamedTensor> masters() const;
  Optimizer& optimizer() { return optimizer_; }
  const TrainerParams& params() const { return params_; }
  uint64_t bytes() const {
    return optimizer_.bytes();
  }  // that it keeps between steps, beside the model

 private:
  template <class Accumulate>
  StepMetrics step(const Accumulate& accumulate);
  DropoutPass dropout_pass(int64_t micro_batch) const;
  void require_finite(double loss, const std::string& where) const;

  Transformer& model_;
  TrainerParams params_;
  Optimizer optimizer_;
  Backward backward_;
};

}  // namespace cream
