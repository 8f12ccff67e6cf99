// One optimizer step: cut the items into micro-batches, accumulate their gradients, update.
#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <numeric>

#include "model/check_tokens.h"
#include "support/device.h"
#include "support/invariant.h"

namespace cream {
namespace {

std::vector<NamedTensor> named_weights(Transformer& model) {
  std::vector<NamedTensor> named;
  for (auto& [name, tensor] : trainable_parameters(model.weights(), model.config()))
    named.emplace_back(name, *tensor);
  return named;
}

const TrainerParams& checked(const TrainerParams& params, const Transformer& model) {
  if (!model.weights().lora) return params;
  if (params.optimizer.forms.split_masters)
    throw Error(ErrorCode::invalid_argument,
                "[trainer] an adapter's master weights are always float32; leave masterWeights at "
                "'float32' for a model with an adapter.");
  if (params.shard_weights)
    throw Error(ErrorCode::invalid_argument,
                "[trainer] the weights under an adapter are shared with other models and stay "
                "whole; leave shard at 'optimizer' for a model with an adapter.");
  return params;
}

std::optional<ShardedWeights> shard_weights(Transformer& model, const TrainerParams& params,
                                            Group& group) {
  if (!params.shard_weights || group.single()) return std::nullopt;
  return ShardedWeights(model, group);
}

void check_sequence(const ModelConfig& config, const Tokens& prompt, const Tokens& completion,
                    const std::string& what) {
  check_tokens(config, prompt);
  check_tokens(config, completion);
  check_length(config, static_cast<int64_t>(prompt.size() + completion.size()), what,
               "shorten the prompt or the completion");
}

void check_pairs(const ModelConfig& config, const std::vector<PreferencePair>& pairs) {
  invariant(!pairs.empty(), "a step has no pairs");
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PreferencePair& pair = pairs[i];
    const std::string prompt = "[train] the prompt of pair " + std::to_string(i);
    check_sequence(config, pair.prompt, pair.chosen, prompt + " with its chosen completion");
    check_sequence(config, pair.prompt, pair.rejected, prompt + " with its rejected completion");
    for (const double logp : {pair.reference_chosen, pair.reference_rejected, pair.base_chosen,
                              pair.base_rejected, pair.kl_baseline})
      invariant(std::isfinite(logp), "a log-prob of a pair is not finite");
    invariant(pair.weight >= 0 && pair.weight <= 1, "the weight of a pair is not from 0 to 1");
  }
}

void check_examples(const ModelConfig& config, const std::vector<SftExample>& examples) {
  invariant(!examples.empty(), "a step has no examples");
  for (size_t i = 0; i < examples.size(); ++i)
    check_sequence(config, examples[i].prompt, examples[i].completion,
                   "[train] the prompt of example " + std::to_string(i) + " with its completion");
}

// Consecutive items of a step: first … last − 1.
struct MicroBatch {
  size_t first, last;
};

// A micro-batch takes items as long as its rows stay within the bound, but at least one.
std::vector<MicroBatch> cut_micro_batches(const std::vector<int64_t>& rows, int64_t bound) {
  std::vector<MicroBatch> cut;
  int64_t taken = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (cut.empty() || taken + rows[i] > bound) cut.push_back({i, i}), taken = 0;
    taken += rows[i];
    cut.back().last = i + 1;
  }
  return cut;
}

// The items of each rank, in order: they are dealt by length, the longest first, each to the rank
// with the fewest rows so far.
std::vector<std::vector<size_t>> deal(const std::vector<int64_t>& rows, int ranks) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::vector<size_t>> dealt(ranks);
  std::vector<int64_t> load(ranks, 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rows[a] > rows[b]; });
  for (const size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += rows[i];
    dealt[least - load.begin()].push_back(i);
  }
  for (std::vector<size_t>& items : dealt) std::sort(items.begin(), items.end());
  return dealt;
}

// This rank's share of a step. All ranks make the same number of passes: the most micro-batches of
// any rank.
template <class Item>
struct Share {
  std::vector<Item> items;
  std::vector<MicroBatch> micro_batches;
  size_t passes = 0;
};

template <class Item, class Completions>
Share<Item> share_of(const std::vector<Item>& items, const Group& group, int64_t bound,
                     const Completions& completions_of) {
  std::vector<int64_t> rows;
  for (const Item& item : items) rows.push_back(packed_rows(item.prompt, completions_of(item)));
  const std::vector<std::vector<size_t>> dealt = deal(rows, group.size());
  Share<Item> share;
  for (int rank = 0; rank < group.size(); ++rank) {
    std::vector<int64_t> own;
    for (const size_t i : dealt[rank]) own.push_back(rows[i]);
    const std::vector<MicroBatch> cut = cut_micro_batches(own, bound);
    share.passes = std::max(share.passes, cut.size());
    if (rank != group.rank()) continue;
    share.micro_batches = cut;
    for (const size_t i : dealt[rank]) share.items.push_back(items[i]);
  }
  return share;
}

template <class Item, class Completions>
PackedBatch packed(const std::vector<Item>& items, const MicroBatch& micro,
                   const Completions& completions_of) {
  PackedBatch batch;
  for (size_t i = micro.first; i < micro.last; ++i) {
    const int32_t prompt = batch.add_prompt(items[i].prompt);
    for (const Tokens* completion : completions_of(items[i]))
      batch.add_completion(prompt, *completion);
  }
  return batch;
}

// Completions 2i and 2i+1 of the packed batch are the chosen and the rejected one of its pair i;
// `batch` counts the pairs of all ranks.
std::vector<PairRows> pair_rows(const PackedBatch& packed, const MicroBatch& micro,
                                const std::vector<PreferencePair>& pairs, size_t batch) {
  const auto& offsets = packed.prediction_offsets();
  std::vector<PairRows> rows;
  for (size_t i = micro.first; i < micro.last; ++i) {
    const size_t at = 2 * (i - micro.first);
    rows.push_back({offsets[at], offsets[at + 1], offsets[at + 1], offsets[at + 2],
                    pairs[i].reference_chosen, pairs[i].reference_rejected, pairs[i].weight,
                    1.0 / static_cast<double>(batch), pairs[i].base_chosen, pairs[i].base_rejected,
                    pairs[i].kl_baseline});
  }
  return rows;
}

int64_t chunk_rows(const Tensor& hidden) {
  return on_device(hidden) ? device_head_chunk_rows(hidden.size(0)) : kHeadChunkRows;
}

void add_to(StepMetrics& metrics, const PairOutcome& outcome, double weight) {
  metrics.reward_chosen += weight * outcome.reward_chosen;
  metrics.reward_rejected += weight * outcome.reward_rejected;
  metrics.reward_margin += weight * (outcome.reward_chosen - outcome.reward_rejected);
  metrics.reward_accuracy += outcome.reward_chosen > outcome.reward_rejected ? weight : 0;
  metrics.logp_chosen += weight * outcome.logp_chosen;
  metrics.logp_rejected += weight * outcome.logp_rejected;
  metrics.kl += weight * outcome.kl;
}

}  // namespace

Trainer::Trainer(Transformer& model, TrainerParams params, const std::vector<NamedTensor>& masters,
                 Group& group, uint64_t bucket_elements, const Cancel& cancel)
    : model_(model),
      params_(checked(params, model)),
      sharded_(shard_weights(model, params, group)),
      optimizer_(named_weights(model), params.optimizer, masters,
                 {group, !model.weights().lora.has_value(), bucket_elements,
                  sharded_ ? sharded_->own() : std::vector<Tensor>()},
                 cancel),
      backward_(model, optimizer_, params.activation_checkpointing.value_or(false),
                sharded_ ? &*sharded_ : nullptr) {}

void Trainer::gather_weights() {
  if (sharded_) sharded_->gather();
}

void Trainer::weights_changed() {
  if (sharded_)
    sharded_->release();  // gathered ones are old
  else
    model_.weights().lora ? model_.weights().pack_adapters() : model_.weights().pack();
}

template <class Accumulate>
StepMetrics Trainer::step(size_t passes, const Accumulate& accumulate) {
  const auto started = std::chrono::steady_clock::now();
  StepMetrics metrics;
  try {
    accumulate_all(passes, accumulate, metrics);
    const Optimizer::Applied applied = optimizer_.step();
    metrics.grad_norm = applied.grad_norm;
    metrics.learning_rate = applied.learning_rate;
  } catch (...) {
    optimizer_.zero_gradients();  // no gradient of the failed step enters the next one
    throw;
  }
  weights_changed();
  metrics.step = optimizer_.step_count();
  metrics.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return metrics;
}

// Accumulates the gradients and metrics of all ranks. If one rank fails, all fail; it still takes
// part in the sums of the others, so that none waits for it.
template <class Accumulate>
void Trainer::accumulate_all(size_t passes, const Accumulate& accumulate, StepMetrics& metrics) {
  Group& group = optimizer_.group();
  std::exception_ptr failure;
  for (size_t pass = 0; pass < passes; ++pass) {
    optimizer_.begin_pass(!params_.reduce_per_step || pass + 1 == passes);
    try {
      if (!failure) accumulate(pass, metrics);
    } catch (...) {
      failure = std::current_exception();
    }
    backward_.end_pass();
    if (failure && group.single()) std::rethrow_exception(failure);
  }
  if (group.single()) return;
  double* const sums[] = {&metrics.loss,
                          &metrics.reward_chosen,
                          &metrics.reward_rejected,
                          &metrics.reward_margin,
                          &metrics.reward_accuracy,
                          &metrics.logp_chosen,
                          &metrics.logp_rejected,
                          &metrics.kl};
  std::vector<double> values{failure ? 1.0 : 0.0, static_cast<double>(metrics.tokens)};
  for (const double* sum : sums) values.push_back(*sum);
  const Tensor all = at::tensor(at::ArrayRef<double>(values), at::kDouble).to(model_.device());
  group.all_reduce(all)();
  if (failure) std::rethrow_exception(failure);
  const Tensor here = all.cpu();
  const double* const totals = here.const_data_ptr<double>();
  if (totals[0] > 0)
    throw Error(ErrorCode::io, "[train] another rank stopped step " +
                                   std::to_string(optimizer_.step_count() + 1) +
                                   " and says why; nothing was changed.");
  metrics.tokens = static_cast<uint64_t>(totals[1]);
  for (size_t i = 0; i < std::size(sums); ++i) *sums[i] = totals[2 + i];
}

void Trainer::agree(const std::function<void()>& check) const {
  Group& group = optimizer_.group();
  std::exception_ptr failure;
  try {
    check();
  } catch (...) {
    failure = std::current_exception();
  }
  const Tensor failures = at::full({1}, failure ? 1.0 : 0.0, at::kDouble).to(model_.device());
  group.all_reduce(failures)();
  if (failure) std::rethrow_exception(failure);
  if (failures.item<double>() > 0)
    throw Error(ErrorCode::io,
                "[train] another rank cannot load the training state and says why; nothing was "
                "changed.");
}

// Micro-batches are numbered over all ranks.
DropoutPass Trainer::dropout_pass(size_t pass) const {
  const Group& group = optimizer_.group();
  return {params_.dropout_seed, optimizer_.step_count(),
          static_cast<int64_t>(pass) * group.size() + group.rank()};
}

void Trainer::require_finite(double loss, const std::string& where) const {
  if (std::isfinite(loss)) return;
  throw Error(
      ErrorCode::non_finite,
      "[train] the loss of " + where + " is not finite in step " +
          std::to_string(optimizer_.step_count() + 1) +
          ", and nothing was changed; lower the learning rate, or look for damaged weights.");
}

StepMetrics Trainer::preference_step(const std::vector<PreferencePair>& pairs,
                                     const Cancel& cancel) {
  check_pairs(model_.config(), pairs);
  const auto both = [](const PreferencePair& pair) {
    return std::vector<const Tokens*>{&pair.chosen, &pair.rejected};
  };
  const auto share = share_of(pairs, optimizer_.group(), params_.micro_batch_tokens, both);
  const std::vector<PreferencePair>& own = share.items;
  return step(share.passes, [&](size_t pass, StepMetrics& metrics) {
    if (pass >= share.micro_batches.size()) return;
    cancel.check();
    const MicroBatch& micro = share.micro_batches[pass];
    const PackedBatch batch = packed(own, micro, both);
    std::vector<PairOutcome> outcomes;
    const auto loss = [&](const Tensor& hidden, const Head& head, const Tensor& targets,
                          Tensor& head_gradient) {
      HeadGradient gradient =
          linear_preference(hidden, head, targets, pair_rows(batch, micro, own, pairs.size()),
                            params_.loss, head_gradient, outcomes, chunk_rows(hidden));
      for (size_t i = 0; i < outcomes.size(); ++i)
        require_finite(outcomes[i].loss, "pair " + std::to_string(micro.first + i));
      return gradient;
    };
    metrics.loss += backward_.run(batch, loss, dropout_pass(pass), cancel);
    for (const PairOutcome& outcome : outcomes)
      add_to(metrics, outcome, 1.0 / static_cast<double>(pairs.size()));
    metrics.tokens += batch.rows();
  });
}

StepMetrics Trainer::sft_step(const std::vector<SftExample>& examples, const Cancel& cancel) {
  check_examples(model_.config(), examples);
  int64_t completion_tokens = 0;
  for (const SftExample& example : examples)
    completion_tokens += static_cast<int64_t>(example.completion.size());
  const auto one = [](const SftExample& example) {
    return std::vector<const Tokens*>{&example.completion};
  };
  const auto share = share_of(examples, optimizer_.group(), params_.micro_batch_tokens, one);
  return step(share.passes, [&](size_t pass, StepMetrics& metrics) {
    if (pass >= share.micro_batches.size()) return;
    cancel.check();
    const MicroBatch& micro = share.micro_batches[pass];
    const PackedBatch batch = packed(share.items, micro, one);
    const auto loss = [&](const Tensor& hidden, const Head& head, const Tensor& targets,
                          Tensor& head_gradient) {
      const Tensor weights =
          at::full({hidden.size(0)}, 1.0 / static_cast<double>(completion_tokens),
                   hidden.options().dtype(at::kFloat));
      HeadGradient gradient =
          linear_cross_entropy(hidden, head, targets, weights, head_gradient, chunk_rows(hidden));
      require_finite(gradient.loss, "examples " + std::to_string(micro.first) + " to " +
                                        std::to_string(micro.last - 1));
      return gradient;
    };
    metrics.loss += backward_.run(batch, loss, dropout_pass(pass), cancel);
    metrics.tokens += batch.rows();
  });
}

std::vector<NamedTensor> Trainer::masters() const {
  std::vector<NamedTensor> named;
  for (const OptimizerEntry& entry : optimizer_.entries()) {
    Tensor master = entry.master.defined() ? entry.master : ops::master_of(entry).cpu();
    if (optimizer_.sharded()) master = optimizer_.whole(entry, master, entry.parameter.sizes());
    if (writes()) named.emplace_back(entry.name, std::move(master));
  }
  return named;
}

}  // namespace cream
