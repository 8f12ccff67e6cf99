#include "engine/state.h"

#include <atomic>
#include <unordered_map>

#include "weights/load.h"

namespace cream {

static NamedTensors copies_of(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.clone());
  return out;
}

Transformer& Engine::State::ready() {
  Transformer& transformer = loaded();
  if (trainer && !trainer->has_weights())
    throw Error(ErrorCode::invalid_argument,
                "The model's weights are sharded over the ranks of its trainer; call the trainer's "
                "gatherWeights() on all ranks before using the model.");
  return transformer;
}

Transformer& Engine::State::loaded() {
  if (origin.valid()) {
    try {
      Shared shared = origin.get();
      model = std::move(shared.model);
      masters_source = std::move(shared.masters_source);
      kept_masters = std::move(shared.kept_masters);
    } catch (const std::future_error&) {
      throw Error(ErrorCode::disposed,
                  "The original model was disposed of before this snapshot of it was made.");
    }
  }
  if (model && model->offloaded()) {
    make_room(turn, model->base_bytes(), device());
    model->restore();
  }
  if (!model)
    throw Error(ErrorCode::disposed,
                "The model holds no weights: it was disposed of, did not load, or its trainer "
                "ended while the weights were sharded over the ranks.");
  return model->transformer;
}

Transformer& Engine::State::causal(const char* who) {
  Transformer& transformer = ready();
  if (transformer.config().num_labels > 0)
    throw Error(ErrorCode::unsupported, std::string(who) +
                                            " this is a sequence-classification model (" +
                                            transformer.config().architecture +
                                            "), which has no token probabilities; use classify(), "
                                            "or load a causal language model.");
  return transformer;
}

Transformer& Engine::State::own() {
  ready();
  if (model->lora()) {
    if (model.use_count() > 1) model = model->copy_adapter();
  } else if (model.use_count() > 1 || model->shares_base()) {
    model = model->copy();
  }
  model->forget_host_copy();
  // Orders the reads of the last other holder, on another thread, before our writes.
  std::atomic_thread_fence(std::memory_order_acquire);
  return model->transformer;
}

Trainer& Engine::State::live(uint64_t number) {
  if (!trainer || number != trainer_number)
    throw Error(ErrorCode::disposed, "The trainer was disposed of; ask the model for a new one.");
  return *trainer;
}

Shared Engine::State::share(bool adapter) {
  ready();
  if (!adapter && model->lora()) return {model->without_adapter(), masters_source, kept_masters};
  if (!trainer) return {model, masters_source, kept_masters};
  // The trainer keeps writing into our tensors.
  if (model->lora()) return {model->copy_adapter(), masters_source, kept_masters};
  return {model->copy(), masters_source,
          kept_masters ? std::make_shared<const NamedTensors>(copies_of(*kept_masters)) : nullptr};
}

bool Engine::State::leave(at::Device from) {
  if (!model || trainer || generator || from.is_cpu() || device() != from) return false;
  if (model.use_count() > 1 || model->shares_base() || model->lora()) return false;
  // Orders the reads of the last other holder, on another thread, before the memory is released.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (!model->offload()) return false;
  release_device_memory(from);
  return true;
}

void Engine::State::require_adapter(const char* who) {
  ready();
  if (!model->lora())
    throw Error(ErrorCode::invalid_argument,
                std::string(who) + " the model has no adapter; add or load one first.");
}

void Engine::State::require_no_trainer(const char* who) {
  ready();
  if (trainer)
    throw Error(ErrorCode::invalid_argument,
                std::string(who) + " the model has a trainer; dispose of it first.");
}

// The fp32 values that a trainer starts from.
NamedTensors Engine::State::masters(const Cancel& cancel) {
  return model->lora() ? model->adapter_masters() : base_masters(cancel);
}

// The caller may write to the tensors. Without kept ones the checkpoint is read again.
NamedTensors Engine::State::base_masters(const Cancel& cancel) {
  if (kept_masters) {
    if (kept_masters.use_count() > 1) return copies_of(*kept_masters);
    // Orders the reads of the last other holder, on another thread, before our writes.
    std::atomic_thread_fence(std::memory_order_acquire);
    return *kept_masters;
  }
  if (masters_source.empty()) return {};
  NamedTensors masters = load_weights(masters_source, at::kFloat, cancel).tensors;
  std::unordered_map<std::string, const Tensor*> by_name;
  for (const auto& [name, tensor] : masters) by_name.emplace(name, &tensor);
  const Transformer& transformer = model->transformer;
  for (const auto& [name, weight] : model->transformer.weights().parameters(transformer.config())) {
    cancel.check();
    const auto found = by_name.find(name);
    if (found == by_name.end() ||
        !at::equal(found->second->to(weight->scalar_type()).to(weight->device()), *weight)) {
      throw Error(ErrorCode::invalid_file,
                  masters_source + " changed since the model was loaded from it (parameter " +
                      name + "); load the model again before training it.");
    }
  }
  return masters;
}

NamedTensors Engine::State::to_save(at::ScalarType dtype) {
  Transformer& transformer = loaded();
  NamedTensors tensors;
  if (trainer) {
    tensors = trainer->masters();
  } else if (dtype == at::kFloat && kept_masters) {
    return *kept_masters;
  } else if (dtype == at::kFloat && !masters_source.empty()) {
    return masters();
  } else {
    for (const auto& [name, weight] : transformer.weights().parameters(transformer.config()))
      tensors.emplace_back(name, *weight);
  }
  return tensors;
}

}  // namespace cream
