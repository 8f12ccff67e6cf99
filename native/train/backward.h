// Forward and backward of one packed micro-batch: gradients of the parameters that train are added
// to the optimizer's fp32 accumulators. A model with an adapter trains the adapter: no gradient of
// a frozen weight, embedding or head is computed.
//
// The backward pass runs layer by layer. With activation checkpointing the forward keeps each
// layer's input only and the layer is computed again under autograd when its turn comes, so one
// layer's activations exist at a time; without it the forward itself runs under autograd and every
// layer's graph is kept.
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

namespace cream {

// hidden [predictions, hidden] after the final norm, targets [predictions] → loss and its gradient;
// adds to head_gradient, which is undefined where the head is frozen.
using HeadLoss = std::function<HeadGradient(const Tensor& hidden, const Linear& head,
                                            const Tensor& targets, Tensor& head_gradient)>;

// What training changes, by name: the adapter's parameters where there is one, else all of the
// model's.
std::vector<std::pair<std::string, Tensor*>> trainable_parameters(Weights& weights,
                                                                  const ModelConfig& config);

// Names the dropout masks of one forward and backward pass.
struct DropoutPass {
  uint64_t seed = 0;
  int64_t step = 0, micro_batch = 0;
};

class Backward {
 public:
  // Both outlive this. Parameters of `model` and entries of `optimizer` are matched by name.
  Backward(Transformer& model, Optimizer& optimizer, bool activation_checkpointing);

  // Returns the loss. Checks `cancel` before every layer; what was added to the accumulators by
  // then stays there.
  double run(const PackedBatch& batch, const HeadLoss& loss, const DropoutPass& pass,
             const Cancel& cancel);

 private:
  // Tensors that require a gradient, and where their gradients are collected: norms, biases, an
  // adapter's matrices.
  struct Parameters {
    std::vector<Tensor> weights, gradients;
  };

  // A layer's, kept for its backward pass.
  struct Activation {
    Tensor input, output;  // output: undefined where it is to be recomputed
  };

  Tensor forward(const PackedBatch& batch, const TokenBatch& rows, const Cancel& cancel,
                 std::vector<Activation>& activations);
  // Both return the gradient with respect to their input in d_x.
  double head(const PackedBatch& batch, const Tensor& x, const HeadLoss& loss, Tensor& d_x);
  void backward_layer(int64_t index, Activation activation, const PackedBatch& batch,
                      const TokenBatch& rows, Tensor& d_x);
  // d_output → gradient of the input; the parameters' gradients go to their accumulators.
  static Tensor propagate(const Tensor& output, const Tensor& d_output, const Tensor& input,
                          const Parameters& parameters);
  Parameters parameters_of(const std::string& prefix);
  void name_dropout(const DropoutPass& pass);
  bool frozen() const { return model_.weights().lora.has_value(); }  // all but the adapter

  Transformer& model_;
  Transformer differentiable_;  // the model's storage; its small parameters under tensors that
                                // require gradients
  Optimizer& optimizer_;
  bool checkpointing_;
  std::vector<Parameters> layers_;
  Parameters final_norm_;
};

}  // namespace cream
