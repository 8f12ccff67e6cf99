#include "engine/shared_model.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "support/stream_mark.h"
#include "support/transfer.h"
#include "support/transient.h"
#include "weights/reader.h"

namespace cream {

namespace {

struct Live {
  std::mutex mutex;
  std::unordered_map<at::Device, uint64_t> bytes;
};
Live& live() {
  static auto& all = *new Live;  // never destroyed: a model may be released at exit
  return all;
}

uint64_t parameter_bytes(Transformer& transformer) {
  uint64_t bytes = 0;
  for (const auto& [name, weight] : transformer.weights().parameters(transformer.config()))
    bytes += weight->nbytes();
  return bytes;
}

uint64_t adapter_bytes(Weights& weights, const AdapterTensors& masters) {
  uint64_t bytes = 0;
  const auto own = adapter_parameters(weights);
  for (size_t i = 0; i < own.size(); ++i) {
    const bool same = own[i].second->const_data_ptr() == masters[i].second.const_data_ptr();
    bytes += own[i].second->nbytes() + (same ? 0 : masters[i].second.nbytes());
  }
  return bytes;
}

// Shares storage with `transformer`.
Transformer base_of(const Transformer& transformer) {
  Transformer base = transformer;
  detach_adapter(base.weights());
  return base;
}

AdapterTensors cloned(const AdapterTensors& tensors) {
  AdapterTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.clone());
  return out;
}

}  // namespace

LiveBytes::LiveBytes(uint64_t bytes, at::Device device) : bytes_(bytes), device_(device) {
  const std::lock_guard lock(live().mutex);
  live().bytes[device_] += bytes_;
}
LiveBytes::~LiveBytes() {
  const std::lock_guard lock(live().mutex);
  live().bytes[device_] -= bytes_;
}

SharedModel::SharedModel(Transformer owned) : transformer(std::move(owned)) {
  base_ = std::make_shared<LiveBytes>(parameter_bytes(transformer), transformer.device());
}

SharedModel::SharedModel(Transformer base, std::shared_ptr<const LiveBytes> bytes)
    : base_(std::move(bytes)), transformer(std::move(base)) {}

std::shared_ptr<SharedModel> SharedModel::copy() const {
  const at::NoGradGuard no_grad;
  Transformer copied = base_of(transformer);
  for (const auto& [name, weight] : copied.weights().parameters(copied.config()))
    *weight = weight->clone();
  if (copied.config().tie_word_embeddings)
    copied.weights().head.weight = copied.weights().embedding.weight;
  copied.weights().pack();
  auto base = std::make_shared<SharedModel>(std::move(copied));
  return lora() ? base->with_adapter(*lora(), cloned(masters_)) : base;
}

std::shared_ptr<SharedModel> SharedModel::copy_adapter() const {
  const at::NoGradGuard no_grad;
  return with_adapter(*lora(), cloned(masters_));
}

std::shared_ptr<SharedModel> SharedModel::with_adapter(const LoraParams& params,
                                                       AdapterTensors masters) const {
  const at::NoGradGuard no_grad;
  std::shared_ptr<SharedModel> made = without_adapter();
  Weights& weights = made->transformer.weights();
  for (auto& [name, tensor] : masters) tensor = tensor.to(transformer.device());
  attach_adapter(weights, made->transformer.config(), params, masters);
  made->masters_ = std::move(masters);
  made->adapter_ =
      std::make_shared<LiveBytes>(adapter_bytes(weights, made->masters_), transformer.device());
  return made;
}

bool SharedModel::offload() {
  if (offloaded_) return false;
  const at::NoGradGuard no_grad;
  const auto weights = transformer.weights().parameters(transformer.config());
  // Memory can be taken from a tensor that has it alone.
  for (const auto& [name, weight] : weights)
    if (weight->storage_offset() != 0 || weight->storage().nbytes() != weight->nbytes())
      return false;
  if (host_.empty())
    for (const auto& [name, weight] : weights) host_.push_back(download(*weight));
  StreamMark(transformer.device()).wait();  // until the copies are made
  for (const auto& [name, weight] : weights) release_memory(*weight);
  offloaded_ = true;
  base_ = std::make_shared<LiveBytes>(base_->bytes(), at::kCPU);
  return true;
}

void SharedModel::restore() {
  if (!offloaded_) return;
  const at::NoGradGuard no_grad;
  const auto weights = transformer.weights().parameters(transformer.config());
  for (size_t i = 0; i < weights.size(); ++i) {
    Tensor& weight = *weights[i].second;
    if (!has_memory(weight)) acquire_memory(weight);
    weight.copy_(host_[i], /*non_blocking=*/true);
  }
  offloaded_ = false;
  base_ = std::make_shared<LiveBytes>(base_->bytes(), transformer.device());
}

std::shared_ptr<SharedModel> SharedModel::without_adapter() const {
  return std::shared_ptr<SharedModel>(new SharedModel(base_of(transformer), base_));
}

uint64_t live_weight_bytes(at::Device device) {
  const std::lock_guard lock(live().mutex);
  return live().bytes[device];
}

uint64_t live_weight_bytes() {
  const std::lock_guard lock(live().mutex);
  uint64_t sum = 0;
  for (const auto& [device, bytes] : live().bytes) sum += bytes;
  return sum;
}

static std::vector<TensorInfo> stored_tensors(const std::string& path) {
  if (path.ends_with(".gguf")) return open_gguf(path)->tensors();
  return open_safetensors(path)->tensors();
}

uint64_t stored_numbers(const std::string& path) {
  uint64_t sum = 0;
  for (const TensorInfo& info : stored_tensors(path)) {
    uint64_t numbers = 1;
    for (const int64_t size : info.shape) numbers *= static_cast<uint64_t>(size);
    sum += numbers;
  }
  return sum;
}

bool finer_than_bfloat16(const std::string& path) {
  const std::vector<TensorInfo> tensors = stored_tensors(path);
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const TensorInfo& info) { return info.dtype != "BF16"; });
}

}  // namespace cream
