// One optimizer step: global norm, clipping factor, AdamW over every entry in order.
#include "optim/optimizer.h"

#include <optional>

#include "ops/adamw/kernel.h"
#include "optim/schedule.h"
#include "support/transient.h"

namespace cream {
namespace {

// Vectors stay in fp32: they take little memory, and updates of norms are small. The embedding's
// gradient stays in fp32 too, because many rows of one token are added one by one.
OptimizerForms forms_of(const std::string& name, bool matrix, bool half,
                        const OptimizerForms& wanted) {
  return {matrix && wanted.states_8bit, matrix && half && wanted.split_masters,
          matrix && half && wanted.bf16_gradients && name != "embedding"};
}

int64_t state_blocks(int64_t n) { return (n + ops::kStateBlock - 1) / ops::kStateBlock; }

// The own part of a tensor of the parameter's shape; the tensor itself where nothing is sharded.
Tensor own_part(const Tensor& whole, const std::optional<Shard>& shard) {
  return shard ? whole.view({-1}).narrow(0, shard->begin, shard->size()) : whole;
}

// The fp32 start value of the own weight: from `masters`, or its own.
Tensor first_master(const OptimizerEntry& entry, const std::vector<NamedTensor>& masters,
                    const std::optional<Shard>& shard) {
  for (const auto& [name, value] : masters) {
    if (name != entry.name) continue;
    if (value.scalar_type() != at::kFloat || value.sizes() != entry.parameter.sizes())
      throw Error(ErrorCode::invalid_argument,
                  "[optimizer] master weight '" + name +
                      "' must be float32 and of the model's shape; load it from the checkpoint "
                      "this model came from.");
    const Tensor whole = value.contiguous();
    const Tensor own = own_part(whole, shard).to(entry.weight.device());
    return shard && own.is_alias_of(whole) ? own.clone() : own;  // the other shards are freed
  }
  return entry.weight.to(at::kFloat);
}

void add_gradient(OptimizerEntry& entry, at::ScalarType dtype, int ranks) {
  const Tensor& parameter = entry.parameter;
  const int64_t padded = ranks * entry.shard.stride, n = parameter.numel();
  entry.padded = at::empty({padded}, parameter.options().dtype(dtype));
  entry.accumulator = entry.padded.narrow(0, 0, n).view(parameter.sizes());
  release_memory(entry.padded);  // until Optimizer::open
}

OptimizerEntry entry_of(const NamedTensor& named, const OptimizerForms& wanted,
                        const std::vector<NamedTensor>& masters, const std::optional<Shard>& shard,
                        const Tensor& own, int ranks) {
  const auto& [name, parameter] = named;
  const bool matrix = parameter.dim() > 1, half = parameter.scalar_type() == at::kBFloat16;
  const OptimizerForms forms = forms_of(name, matrix, half, wanted);
  const auto zeros = [&](at::IntArrayRef shape, at::ScalarType type) {
    return at::zeros(shape, parameter.options().dtype(type));
  };
  OptimizerEntry entry;
  entry.name = name;
  entry.decay = matrix;
  entry.parameter = parameter;
  entry.weight = own.defined() ? own : own_part(parameter, shard);
  const Tensor& weight = entry.weight;
  if (!half) {
    entry.master = weight;
  } else if (forms.split_masters) {
    entry.remainder = zeros(weight.sizes(), at::kShort);
    ops::set_master(entry, first_master(entry, masters, shard));
  } else {
    entry.master = first_master(entry, masters, shard);
  }
  entry.m = zeros(weight.sizes(), forms.states_8bit ? at::kByte : at::kFloat);
  entry.v = at::zeros_like(entry.m);
  if (forms.states_8bit) {
    entry.m_scale = zeros({state_blocks(weight.numel())}, at::kFloat);
    entry.v_scale = at::zeros_like(entry.m_scale);
  }
  const at::ScalarType gradient = forms.bf16_gradients ? at::kBFloat16 : at::kFloat;
  if (shard) {
    entry.shard = *shard;
    add_gradient(entry, gradient, ranks);  // entry.gradient: Optimizer::make_buckets
  } else {
    entry.gradient = entry.accumulator = zeros(weight.sizes(), gradient);
  }
  return entry;
}

}  // namespace

OptimizerBytes optimizer_bytes(const std::string& name, const std::vector<int64_t>& shape,
                               bool half, const OptimizerForms& wanted) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const OptimizerForms forms = forms_of(name, shape.size() > 1, half, wanted);
  const int64_t masters = !half ? 0 : forms.split_masters ? 2 * n : 4 * n;
  const int64_t states = forms.states_8bit ? 2 * n + 8 * state_blocks(n) : 8 * n;
  const int64_t gradients = forms.bf16_gradients ? 2 * n : 4 * n;
  return {static_cast<uint64_t>(masters), static_cast<uint64_t>(states),
          static_cast<uint64_t>(gradients)};
}

uint64_t Optimizer::bytes() const {
  uint64_t sum = 0;
  for (const OptimizerEntry& e : entries_) {
    for (const Tensor& t : {e.remainder, e.m, e.v, e.m_scale, e.v_scale, e.gradient})
      if (t.defined()) sum += t.nbytes();
    if (e.master.defined() && !e.master.is_same(e.weight)) sum += e.master.nbytes();
  }
  return sum;
}

Optimizer::Optimizer(const std::vector<NamedTensor>& weights, OptimizerParams params,
                     const std::vector<NamedTensor>& masters, Distribution distribution,
                     const Cancel& cancel)
    : distribution_(std::move(distribution)), params_(params) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, value] : masters)
    if (std::none_of(weights.begin(), weights.end(),
                     [&name = name](const auto& weight) { return weight.first == name; }))
      throw Error(ErrorCode::invalid_argument, "[optimizer] master weight '" + name +
                                                   "' is not a parameter of this model; load it "
                                                   "from the checkpoint this model came from.");
  for (const NamedTensor& named : weights) {
    cancel.check();
    std::optional<Shard> shard;
    if (sharded())
      shard = shard_of(named.second.numel(), ops::kStateBlock, group().rank(), group().size());
    const auto& sharded_weights = distribution_.own_weights;
    const Tensor own = sharded_weights.empty() ? Tensor() : sharded_weights[entries_.size()];
    entries_.push_back(entry_of(named, params.forms, masters, shard, own, group().size()));
  }
  if (!group().single()) make_buckets();
}

double Optimizer::gradient_norm() const {
  std::vector<Tensor> gradients;
  for (const OptimizerEntry& entry : entries_) gradients.push_back(entry.gradient);
  const double own = ops::sum_of_squares(gradients);
  if (!sharded()) return std::sqrt(own);
  const Tensor sum = at::full({1}, own, entries_.front().weight.options().dtype(at::kDouble));
  group().all_reduce(sum)();
  return std::sqrt(sum.item<double>());
}

OptimizerEntry& Optimizer::entry(const std::string& name) { return entries_[index_of(name)]; }

size_t Optimizer::index_of(const std::string& name) const {
  for (size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].name == name) return i;
  throw Error(ErrorCode::internal, "[optimizer] no parameter is called '" + name + "'.");
}

Optimizer::Applied Optimizer::step() {
  const at::NoGradGuard no_grad;
  if (sharded())
    receive();
  else
    for (const Bucket& bucket : buckets_) reduce_whole(bucket);
  const double norm = gradient_norm();
  if (!std::isfinite(norm))
    throw Error(ErrorCode::non_finite, "[optimizer] the gradient of step " +
                                           std::to_string(step_ + 1) +
                                           " is not finite, and nothing was changed; lower the "
                                           "learning rate, or look for damaged weights.");

  ops::AdamWStep update{.learning_rate = learning_rate_at(params_, step_),
                        .beta1 = params_.beta1,
                        .beta2 = params_.beta2,
                        .epsilon = params_.epsilon,
                        .weight_decay = 0,
                        .step = step_ + 1};
  // The factor of torch.nn.utils.clip_grad_norm_, with its 1e-6.
  if (params_.max_grad_norm > 0)
    update.gradient_scale = std::min(1.0, params_.max_grad_norm / (norm + 1e-6));
  for (OptimizerEntry& entry : entries_) {
    update.weight_decay = entry.decay ? params_.weight_decay : 0;
    ops::adamw(entry, update);
  }
  gather_weights();
  zero_gradients();
  ++step_;
  return {norm, update.learning_rate};
}

void Optimizer::zero_gradients() {
  const at::NoGradGuard no_grad;
  receive();
  for (OptimizerEntry& entry : entries_) {
    entry.gradient.zero_();
    if (entry.padded.defined()) release_memory(entry.padded);
  }
}

void Optimizer::rewrite_weights() {
  const at::NoGradGuard no_grad;
  for (OptimizerEntry& entry : entries_)
    if (entry.master.defined() && !entry.weight.is_same(entry.master))
      entry.weight.copy_(entry.master);
  gather_weights();
}

}  // namespace cream
