#include "train/sharded_weights.h"

#include "model/parameters.h"
#include "ops/adamw/kernel.h"
#include "ops/linear/op.h"
#include "support/transient.h"

namespace cream {
namespace {

// Moves a parameter to a storage that has room for the shards of all ranks and no memory yet;
// returns that storage as a flat tensor. Holders of the same tensor, such as a tied head, see it.
Tensor moved(Tensor& parameter, const Shard& shard, int ranks) {
  const std::vector<int64_t> sizes = parameter.sizes().vec(), strides = parameter.strides().vec();
  Tensor whole = at::empty({ranks * shard.stride}, parameter.options());
  parameter.set_(whole.storage(), 0, sizes, strides);
  release_memory(whole);
  return whole;
}

// The matrices that a unit multiplies by; the embedding is only looked up.
std::vector<Linear*> matrices_of(Weights& weights, size_t unit, const PassParts& parts) {
  if (unit == 0) return {};
  if (unit == parts.head()) return {&weights.head};
  const auto matrices = weights.layers[unit - 1].matrices();
  return {matrices.begin(), matrices.end()};
}

}  // namespace

ShardedWeights::ShardedWeights(Transformer& model, Group& group)
    : group_(group), parts_(model.config().num_layers), units_(parts_.units()) {
  const at::NoGradGuard no_grad;
  Weights& weights = model.weights();
  weights.unpack();
  const auto layout = parameter_layout(model.config());
  const auto tensors = weights.parameters(model.config());
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor& parameter = *tensors[i].second;
    const Shard part = shard_of(parameter.numel(), ops::kStateBlock, group.rank(), group.size());
    const Tensor shard = at::zeros({part.stride}, parameter.options());
    const Tensor own = shard.narrow(0, 0, part.size());
    own.copy_(parameter.view({-1}).narrow(0, part.begin, part.size()));
    parameters_.push_back({moved(parameter, part, group.size()), shard, own});
    const bool embedding = layout[i].name == "embedding";
    if (layout[i].layer >= 0)
      units_[static_cast<size_t>(layout[i].layer) + 1].parameters.push_back(i);
    else
      units_[embedding ? 0 : parts_.head()].parameters.push_back(i);
    if (embedding && model.config().tie_word_embeddings)
      units_[parts_.head()].parameters.push_back(i);
  }
  share(weights);
}

std::vector<Tensor> ShardedWeights::own() const {
  std::vector<Tensor> all;
  for (const Parameter& parameter : parameters_) all.push_back(parameter.own);
  return all;
}

void ShardedWeights::share(Weights& weights) {
  for (size_t i = 0; i < units_.size(); ++i)
    units_[i].matrices.push_back(matrices_of(weights, i, parts_));
}

void ShardedWeights::begin(Unit& unit) {
  std::vector<Tensor> wholes, shards;
  for (const size_t i : unit.parameters) {
    const Parameter& parameter = parameters_[i];
    if (has_memory(parameter.whole)) continue;  // a tied head, while all weights are gathered
    acquire_memory(parameter.whole);
    wholes.push_back(parameter.whole);
    shards.push_back(parameter.shard);
  }
  unit.pending = group_.all_gather(std::move(wholes), std::move(shards));
}

// The packed copies give the same bits as those of a model whose weights are not sharded.
void ShardedWeights::finish(Unit& unit) {
  const at::NoGradGuard no_grad;
  std::exchange(unit.pending, {})();
  const std::vector<Linear*>& own = unit.matrices.front();
  for (size_t i = 0; i < own.size(); ++i) {
    ops::pack(*own[i]);
    for (const std::vector<Linear*>& others : unit.matrices) others[i]->packed = own[i]->packed;
  }
}

void ShardedWeights::release(Unit& unit) {
  for (const std::vector<Linear*>& matrices : unit.matrices)
    for (Linear* matrix : matrices) matrix->packed.reset();
  for (const size_t i : unit.parameters)
    if (has_memory(parameters_[i].whole)) release_memory(parameters_[i].whole);
}

void ShardedWeights::next() {
  if (part_ == 0) {
    release();
    begin(units_[parts_.unit(0)]);
  } else {
    release(units_[parts_.unit(part_ - 1)]);
  }
  finish(units_[parts_.unit(part_)]);
  if (++part_ < parts_.count()) begin(units_[parts_.unit(part_)]);
}

void ShardedWeights::end_pass() {
  release();
  part_ = 0;
}

void ShardedWeights::gather() {
  release();
  for (Unit& unit : units_) begin(unit);
  for (Unit& unit : units_) finish(unit);
  whole_ = true;
}

void ShardedWeights::release() {
  whole_ = false;
  for (Unit& unit : units_) {
    if (unit.pending) std::exchange(unit.pending, {})();
    release(unit);
  }
}

}  // namespace cream
