// Forward through embedding, layers, final norm and head, then backward with one autograd graph per
// layer. Each layer's input is a leaf and gradients are passed between layers by hand, so a layer's
// graph is freed after its backward pass.
#include "train/backward.h"

#include <utility>

#include "support/device.h"
#include "train/attention.h"

namespace cream {
namespace {

// New tensors over the same storage, so that the model's own tensors need no autograd in sampling
// and scoring. A layer's matrices are not leaves: the linear op adds their gradients directly to
// the optimizer's accumulators.
Weights differentiable(Weights weights, const ModelConfig& config, Optimizer& optimizer) {
  const bool adapter = weights.lora.has_value();
  if (adapter) weights.unpack_adapters();
  std::vector<Linear*> matrices;
  for (LayerWeights& layer : weights.layers)
    for (Linear* linear : layer.matrices()) {
      matrices.push_back(linear);
      if (!on_device(linear->weight)) continue;  // on the CPU autograd differentiates adapters
      for (LinearAdapter& a : linear->adapters) matrices.insert(matrices.end(), {&a.down, &a.up});
    }
  for (auto& [name, tensor] : trainable_parameters(weights, config)) {
    const auto matrix =
        std::find_if(matrices.begin(), matrices.end(),
                     [&, at = tensor](Linear* linear) { return &linear->weight == at; });
    if (matrix != matrices.end())
      (*matrix)->gradient = optimizer.entry(name).accumulator;
    else
      *tensor = tensor->detach().set_requires_grad(true);
  }
  return weights;
}

}  // namespace

std::vector<std::pair<std::string, Tensor*>> trainable_parameters(Weights& weights,
                                                                  const ModelConfig& config) {
  return weights.lora ? adapter_parameters(weights) : weights.parameters(config);
}

Backward::Backward(Transformer& model, Optimizer& optimizer, bool activation_checkpointing,
                   ShardedWeights* sharded)
    : model_(model),
      differentiable_(model.config(), differentiable(model.weights(), model.config(), optimizer)),
      optimizer_(optimizer),
      checkpointing_(activation_checkpointing),
      sharded_(sharded),
      parts_(model.config().num_layers) {
  if (sharded_) sharded_->share(differentiable_.weights());
  for (int64_t i = 0; i < model.config().num_layers; ++i)
    layers_.push_back(parameters_of("layers." + std::to_string(i) + "."));
  if (frozen()) return;
  final_norm_ = parameters_of("final_norm");
  embedding_ = parameters_of("embedding");
  head_ = model.config().tie_word_embeddings ? embedding_ : parameters_of("head");
}

Backward::Parameters Backward::parameters_of(const std::string& prefix) {
  Parameters found;
  for (auto& [name, tensor] : trainable_parameters(differentiable_.weights(), model_.config())) {
    if (name.rfind(prefix, 0) != 0) continue;
    const size_t entry = optimizer_.index_of(name);
    found.first = found.entries.empty() ? entry : std::min(found.first, entry);
    found.entries.push_back(entry);
    if (!tensor->requires_grad()) continue;
    found.weights.push_back(*tensor);
    found.gradients.push_back(optimizer_.entries()[entry].accumulator);
  }
  return found;
}

void Backward::open(const Parameters& parameters) {
  for (const size_t entry : parameters.entries) optimizer_.open(entry);
}

void Backward::enter() {
  leave();
  if (sharded_) sharded_->next();
  ++entered_;
}

void Backward::leave() {
  if (frozen() || entered_ <= parts_.head()) return;  // still in the forward pass
  const size_t part = entered_ - 1;
  // The head's part has the final norm and, after it, an untied head.
  optimizer_.send_from(
      (part == parts_.head() ? final_norm_ : layers_[parts_.unit(part) - 1]).first);
}

// All ranks gather weights and send gradients in one order, whatever they compute.
void Backward::end_pass() {
  while (entered_ < parts_.count()) enter();
  leave();
  entered_ = 0;
  optimizer_.end_pass();
  if (sharded_) sharded_->end_pass();
}

void Backward::name_dropout(const DropoutPass& pass) {
  Weights& weights = differentiable_.weights();
  if (!weights.lora) return;
  uint32_t site = 0;
  for (LayerWeights& layer : weights.layers)
    for (Linear* linear : layer.matrices())
      for (LinearAdapter& adapter : linear->adapters)
        adapter.dropout = {weights.lora->dropout, pass.seed, static_cast<uint32_t>(pass.step),
                           static_cast<uint32_t>(pass.micro_batch), site++};
}

double Backward::run(const PackedBatch& batch, const HeadLoss& loss, const DropoutPass& pass,
                     const Cancel& cancel) {
  name_dropout(pass);
  const TokenBatch rows = batch.as_token_batch(model_.device());
  std::vector<Activation> activations;
  const Tensor x = forward(batch, rows, cancel, activations);  // [rows, hidden]
  Tensor d_x;
  const double value = head(batch, x, loss, d_x);
  for (int64_t i = model_.config().num_layers - 1; i >= 0; --i) {
    cancel.check();
    backward_layer(i, std::move(activations[i]), batch, rows, d_x);
  }
  leave();
  if (frozen()) return value;
  // The lookup's gradient, summed in fp32: a token occurs many times in a batch.
  Tensor d_rows = d_x.to(at::kFloat);
  // transformers gives the embedding padding_idx = pad_token_id, whose row gets no gradient.
  if (const int64_t pad = model_.config().pad_token_id; pad >= 0)
    d_rows = d_rows.masked_fill(rows.tokens.eq(pad).unsqueeze(1), 0);
  open(embedding_);
  optimizer_.entry("embedding")
      .accumulator.index_add_(0, rows.tokens, d_rows, model_.embedding_scale());
  return value;
}

Tensor Backward::forward(const PackedBatch& batch, const TokenBatch& rows, const Cancel& cancel,
                         std::vector<Activation>& activations) {
  const RotaryRows rotary = model_.rotary(rows.positions);
  // Recomputation applies dropout, so the first forward pass must apply the same masks.
  const Transformer& kept =
      frozen() && model_.weights().lora->dropout > 0 ? differentiable_ : model_;
  PackedAttention attention(batch.segments());
  TrainingAttention training_attention(batch.segments());
  Tensor x;
  enter();
  {
    const at::NoGradGuard no_grad;
    x = model_.embed(rows.tokens);
  }
  for (int64_t i = 0; i < model_.config().num_layers; ++i) {
    cancel.check();
    enter();
    if (checkpointing_) {
      const at::NoGradGuard no_grad;
      Tensor output = kept.layer(i, x, rotary, attention);
      activations.push_back({std::exchange(x, output), {}});
    } else {
      const at::AutoGradMode grad(true);
      const Tensor input = x.detach().set_requires_grad(true);
      const Tensor output = differentiable_.layer(i, input, rotary, training_attention);
      activations.push_back({input, output});
      x = output.detach();
    }
  }
  return x;
}

double Backward::head(const PackedBatch& batch, const Tensor& x, const HeadLoss& loss,
                      Tensor& d_x) {
  // The final norm and the head run only on rows that predict a completion token.
  const Tensor index = batch.prediction_rows(model_.device());
  Tensor selected, hidden;
  enter();
  {
    const at::AutoGradMode grad(true);
    selected = x.index_select(0, index).set_requires_grad(true);  // [predictions, hidden]
    hidden = differentiable_.final_norm(selected);
  }
  open(head_), open(final_norm_);
  Tensor head_gradient =
      frozen() ? Tensor()
               : optimizer_.entry(model_.config().tie_word_embeddings ? "embedding" : "head")
                     .accumulator;
  const HeadGradient gradient =
      loss(hidden.detach(), model_.weights().head, batch.targets(model_.device()), head_gradient);
  const Tensor d_selected = propagate(hidden, gradient.d_hidden, selected, final_norm_);
  // A prompt's last row predicts the first token of both completions, so its gradients are summed.
  d_x = at::zeros_like(x).index_add_(0, index, d_selected);
  return gradient.loss;
}

void Backward::backward_layer(int64_t index, Activation activation, const PackedBatch& batch,
                              const TokenBatch& rows, Tensor& d_x) {
  enter();
  if (!activation.output.defined()) {
    const at::AutoGradMode grad(true);
    TrainingAttention attention(batch.segments());
    activation.input = activation.input.detach().set_requires_grad(true);
    activation.output =
        differentiable_.layer(index, activation.input, model_.rotary(rows.positions), attention);
  }
  open(layers_[index]);
  d_x = propagate(activation.output, d_x, activation.input, layers_[index]);
}

Tensor Backward::propagate(const Tensor& output, const Tensor& d_output, const Tensor& input,
                           const Parameters& parameters) {
  torch::autograd::variable_list inputs{input};
  inputs.insert(inputs.end(), parameters.weights.begin(), parameters.weights.end());
  torch::autograd::variable_list gradients = torch::autograd::grad({output}, inputs, {d_output});
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters.gradients.size(); ++i) {
    Tensor accumulator = parameters.gradients[i];
    accumulator.add_(std::exchange(gradients[i + 1], {}));
  }
  return gradients[0];
}

}  // namespace cream
