// A folder or GGUF file → config and engine weights: names mapped, shapes checked against the
// config, q/k/v and gate/up joined.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "weights/reader.h"

namespace cream {

// Engine parameter names: "embedding", "layers.{i}.input_norm|qkv|out|post_norm|gate_up|down",
// "final_norm", "head" (untied only), and what a family adds:
// "layers.{i}.qkv_bias|out_bias|gate_up_bias|down_bias|q_norm|k_norm|attention_out_norm" and
// "layers.{i}.mlp_out_norm".
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct LoadedWeights {
  ModelConfig config;
  NamedTensors tensors;       // in the order of the list above, layer by layer
  std::string metadata_json;  // GGUF only
};

// path: a Hugging Face folder (config.json + safetensors) or a .gguf file. `cancel` is looked at
// between tensors, each of which goes to `device` as soon as it is read.
LoadedWeights load_weights(const std::string& path, at::ScalarType dtype,
                           const Cancel& cancel = Cancel(), at::Device device = at::kCPU);

// Splits the joined tensors again and writes Hugging Face names: <dir>/model.safetensors, or shards
// with an index above max_shard_bytes. dir exists; each file is written to a temporary, fsynced and
// renamed.
void save_weights(const std::string& dir, const ModelConfig& config, const NamedTensors& tensors,
                  at::ScalarType dtype, int64_t max_shard_bytes = int64_t{5} << 30);

// Any tensors under any names to one safetensors file, atomically: trainer states.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace cream
