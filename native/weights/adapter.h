// Adapters in PEFT's format: a folder with adapter_config.json and adapter_model.safetensors. A
// variant that is not implemented is refused by the name of its key, so no adapter is applied in
// part.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/types.h"
#include "weights/load.h"

namespace cream {

struct AdapterConfig {
  LoraParams params;  // targets as the file lists them, without path; empty: every linear layer
  std::string base_model;           // base_model_name_or_path; empty where the file has none
  std::string target_pattern = "";  // target_modules as a regular expression; else empty
};

// Throws Error{not_found | invalid_file | unsupported} naming file and key. read_adapter_config
// takes the targets of a pattern from the names of the adapter's tensors.
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
