#include "engine/shared_model.h"

#include <algorithm>
#include <atomic>

#include "weights/reader.h"

namespace cream {

namespace {

std::atomic<uint64_t> live_bytes{0};

uint64_t parameter_bytes(Transformer& transformer) {
  uint64_t bytes = 0;
  for (const auto& [name, weight] : transformer.weights().parameters(transformer.config())) bytes += weight->nbytes();
  return bytes;
}

}  // namespace

SharedModel::SharedModel(Transformer owned) : transformer(std::move(owned)), bytes_(parameter_bytes(transformer)) { live_bytes += bytes_; }

SharedModel::~SharedModel() { live_bytes -= bytes_; }

std::shared_ptr<SharedModel> SharedModel::copy() const {
  const at::NoGradGuard no_grad;
  Transformer copied = transformer;  // tensors are handles: storage is still shared here
  for (const auto& [name, weight] : copied.weights().parameters(copied.config())) *weight = weight->clone();
  if (copied.config().tie_word_embeddings) copied.weights().head.weight = copied.weights().embedding.weight;
  copied.weights().pack();
  return std::make_shared<SharedModel>(std::move(copied));
}

uint64_t live_weight_bytes() { return live_bytes; }

bool finer_than_bfloat16(const std::string& path) {
  const auto finer = [](const WeightsReader& reader) {
    return std::any_of(reader.tensors().begin(), reader.tensors().end(), [](const TensorInfo& info) { return info.dtype != "BF16"; });
  };
  if (path.ends_with(".gguf")) return finer(*open_gguf(path));
  return finer(*open_safetensors(path));
}

}  // namespace cream
