// Loads a folder or GGUF file as config and engine weights: maps names, checks shapes against the
// config, joins q/k/v and gate/up.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "support/digest.h"
#include "weights/reader.h"

namespace cream {

// Engine parameter names: "embedding", "layers.{i}.input_norm|qkv|out|post_norm|gate_up|down",
// "final_norm", "head" (untied only), and depending on the family
// "layers.{i}.qkv_bias|out_bias|gate_up_bias|down_bias|q_norm|k_norm|attention_out_norm" and
// "layers.{i}.mlp_out_norm".
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct LoadedWeights {
  ModelConfig config;
  NamedTensors tensors;       // in the order above, layer by layer
  std::string metadata_json;  // GGUF only
  std::string note;           // for the user: parts of the file that are not used; usually empty
};

// path: a Hugging Face folder (config.json and safetensors) or a .gguf file. Each tensor goes to
// `device` as soon as it is read; `cancel` is checked between tensors.
LoadedWeights load_weights(const std::string& path, at::ScalarType dtype,
                           const Cancel& cancel = Cancel(), at::Device device = at::kCPU);

constexpr int64_t kMaxShardBytes = int64_t{5} << 30;

// Splits the joined tensors and writes them under Hugging Face's names to <dir>/model.safetensors,
// or to shards with an index above max_shard_bytes. dir must exist; each file is written to a
// temporary file and fsynced, and all of them are renamed when the last one is written. `cancel` is
// checked before every 16 MB; a cancelled save leaves the files of `dir` as they were. Returns the
// files with tensors, and their SHA-256 where `digest` makes one.
std::vector<SavedFile> save_weights(const std::string& dir, const ModelConfig& config,
                                    const NamedTensors& tensors, at::ScalarType dtype,
                                    int64_t max_shard_bytes = kMaxShardBytes,
                                    const Cancel& cancel = Cancel(), const MakeDigest& digest = {});

// Writes tensors under any names to one safetensors file, atomically; for trainer states.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace cream
