// Forward and backward pass of one packed micro-batch: adds the gradients of the trainable
// parameters to the optimizer's accumulators. For a model with an adapter only the adapter is
// trainable, and no gradients of frozen weights, embedding or head are computed.
//
// The backward pass runs layer by layer. With activation checkpointing the forward pass keeps each
// layer's input only, and the backward pass recomputes the layer under autograd, so one layer's
// activations are in memory at a time. Without it the forward pass runs under autograd and keeps
// every layer's graph.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "loss/linear_preference.h"
#include "model/lora.h"
#include "model/packing.h"
#include "model/transformer.h"
#include "optim/optimizer.h"
#include "support/types.h"
#include "train/sharded_weights.h"

namespace cream {

// hidden [predictions, hidden] after the final norm, targets [predictions] → loss and its gradient.
// Adds to head_gradient unless that is undefined (frozen head).
using HeadLoss = std::function<HeadGradient(const Tensor& hidden, const Head& head,
                                            const Tensor& targets, Tensor& head_gradient)>;

// Trainable parameters by name: the adapter's where there is one, else all of the model's.
std::vector<std::pair<std::string, Tensor*>> trainable_parameters(Weights& weights,
                                                                  const ModelConfig& config);

// Keys of the dropout masks of one forward and backward pass.
struct DropoutPass {
  uint64_t seed = 0;
  int64_t step = 0, micro_batch = 0;
};

class Backward {
 public:
  // All outlive this. Parameters of `model` and entries of `optimizer` are matched by name.
  // `sharded`: the model's weights where they are sharded, else null.
  Backward(Transformer& model, Optimizer& optimizer, bool activation_checkpointing,
           ShardedWeights* sharded = nullptr);

  // Returns the loss. Checks `cancel` before every layer; gradients accumulated before a cancel
  // remain.
  double run(const PackedBatch& batch, const HeadLoss& loss, const DropoutPass& pass,
             const Cancel& cancel);
  // After each pass, also one that failed or that this rank has no micro-batch for: sends and
  // receives with the other ranks what run() did not.
  void end_pass();

 private:
  // Parameters differentiated by autograd (norms, biases, an adapter's matrices), with their
  // gradient accumulators; `entries` of the optimizer include the matrices.
  struct Parameters {
    std::vector<Tensor> weights, gradients;
    std::vector<size_t> entries;
    size_t first = 0;  // of the entries
  };

  // One layer's activations, kept for its backward pass.
  struct Activation {
    Tensor input, output;  // output: undefined under checkpointing, then recomputed
  };

  Tensor forward(const PackedBatch& batch, const TokenBatch& rows, const Cancel& cancel,
                 std::vector<Activation>& activations);
  // Both return the gradient with respect to their input in d_x.
  double head(const PackedBatch& batch, const Tensor& x, const HeadLoss& loss, Tensor& d_x);
  void backward_layer(int64_t index, Activation activation, const PackedBatch& batch,
                      const TokenBatch& rows, Tensor& d_x);
  // Returns the gradient of the input; adds the parameters' gradients to their accumulators.
  static Tensor propagate(const Tensor& output, const Tensor& d_output, const Tensor& input,
                          const Parameters& parameters);
  Parameters parameters_of(const std::string& prefix);
  // Gives the accumulators of `parameters` their memory.
  void open(const Parameters& parameters);
  // The next part of the pass begins, whose weights it needs.
  void enter();
  // The gradients of the present part are final.
  void leave();
  void name_dropout(const DropoutPass& pass);
  bool frozen() const { return model_.weights().lora.has_value(); }  // everything but the adapter

  Transformer& model_;
  // Shares the model's storage; parameters outside the layers' matrices are leaves that require
  // gradients.
  Transformer differentiable_;
  Optimizer& optimizer_;
  bool checkpointing_;
  ShardedWeights* sharded_;
  PassParts parts_;
  size_t entered_ = 0;  // parts of the present pass that have begun
  std::vector<Parameters> layers_;
  Parameters final_norm_, embedding_, head_;  // head_: the embedding where tied
};

}  // namespace cream
