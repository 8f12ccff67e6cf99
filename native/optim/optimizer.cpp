// One optimizer step: global norm, clipping factor, AdamW over every entry in order.
#include "optim/optimizer.h"

#include "ops/adamw/op.h"
#include "optim/schedule.h"

namespace cream {
namespace {

Tensor master_of(const NamedTensor& weight, const std::vector<NamedTensor>& masters) {
  for (const auto& [name, value] : masters) {
    if (name != weight.first) continue;
    if (value.scalar_type() != at::kFloat || value.sizes() != weight.second.sizes())
      throw Error(ErrorCode::invalid_argument, "[optimizer] master weight '" + name +
                                                   "' must be float32 and of the model's shape; load it from the checkpoint this model came from.");
    return value.to(weight.second.device()).contiguous();
  }
  return weight.second.scalar_type() == at::kFloat ? weight.second : weight.second.to(at::kFloat);
}

}  // namespace

Optimizer::Optimizer(const std::vector<NamedTensor>& weights, OptimizerParams params, const std::vector<NamedTensor>& masters)
    : params_(params) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, value] : masters)
    if (std::none_of(weights.begin(), weights.end(), [&name = name](const auto& weight) { return weight.first == name; }))
      throw Error(ErrorCode::invalid_argument, "[optimizer] master weight '" + name +
                                                   "' is not a parameter of this model; load it from the checkpoint this model came from.");
  for (const NamedTensor& named : weights) {
    const Tensor& weight = named.second;
    const Tensor master = weight.scalar_type() == at::kFloat ? weight : master_of(named, masters);
    const auto zeros = [&] { return at::zeros(weight.sizes(), weight.options().dtype(at::kFloat)); };
    entries_.push_back({named.first, weight, master, zeros(), zeros(), zeros(), weight.dim() > 1});
  }
}

OptimizerEntry& Optimizer::entry(const std::string& name) {
  for (OptimizerEntry& entry : entries_)
    if (entry.name == name) return entry;
  throw Error(ErrorCode::internal, "[optimizer] no parameter is called '" + name + "'.");
}

Optimizer::Applied Optimizer::step() {
  const at::NoGradGuard no_grad;
  double squares = 0;
  for (const OptimizerEntry& entry : entries_) squares += ops::sum_of_squares(entry.gradient);
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm))
    throw Error(ErrorCode::non_finite, "[optimizer] the gradient of step " + std::to_string(step_ + 1) +
                                           " is not finite, and nothing was changed; lower the learning rate, or look for damaged weights.");

  ops::AdamWStep update{.learning_rate = learning_rate_at(params_, step_),
                        .beta1 = params_.beta1,
                        .beta2 = params_.beta2,
                        .epsilon = params_.epsilon,
                        .weight_decay = 0,
                        .step = step_ + 1};
  // torch.nn.utils.clip_grad_norm_'s factor, its 1e-6 included.
  if (params_.max_grad_norm > 0) update.gradient_scale = std::min(1.0, params_.max_grad_norm / (norm + 1e-6));
  for (OptimizerEntry& entry : entries_) {
    update.weight_decay = entry.decay ? params_.weight_decay : 0;
    ops::adamw(entry.master, entry.m, entry.v, entry.gradient, entry.weight, update);
  }
  zero_gradients();
  ++step_;
  return {norm, update.learning_rate};
}

void Optimizer::zero_gradients() {
  for (OptimizerEntry& entry : entries_) entry.gradient.zero_();
}

void Optimizer::rewrite_weights() {
  const at::NoGradGuard no_grad;
  for (OptimizerEntry& entry : entries_)
    if (!entry.weight.is_same(entry.master)) entry.weight.copy_(entry.master);
}

}  // namespace cream
