// LoRA adapters in PEFT's format: a folder with adapter_config.json and adapter_model.safetensors.
// An unsupported key is an error that names it, so an adapter is never applied in part.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/types.h"
#include "weights/load.h"

namespace cream {

struct AdapterConfig {
  LoraParams params;       // targets as in the file, without path; empty: all linear layers
  std::string base_model;  // base_model_name_or_path; empty where the file has none
};

// Throws Error{not_found | invalid_file | unsupported} naming file and key.
AdapterConfig read_adapter_config(const std::string& directory);
AdapterConfig parse_adapter_config(const std::string& json, const std::string& source);

// The adapter's parameters in fp32, in the order of `layout` (engine names and shapes, see
// model/lora.h). Reads F32, BF16 and F16. Throws Error{not_found | invalid_file} naming a tensor
// that is missing, unknown, or of another shape than the base model requires.
NamedTensors read_adapter_tensors(
    const std::string& directory,
    const std::vector<std::pair<std::string, std::vector<int64_t>>>& layout);

// Creates the folder. The config is written last, so a folder with a config is complete.
void save_adapter(const std::string& directory, const AdapterConfig& config,
                  const NamedTensors& tensors, at::ScalarType dtype);

}  // namespace cream
