// GGUF metadata → ModelConfig.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/config.h"
#include "support/json.h"
#include "weights/reader.h"

namespace cream {

struct GgufMetadata {
  std::map<std::string, JsonValue> scalars;  // numbers, booleans, strings by key
  std::map<std::string, uint64_t> array_lengths;
  std::string json;  // all keys, arrays included
};

// Throws Error{invalid_file} for missing or impossible values, Error{unsupported} for anything but a plain Llama.
ModelConfig config_from_gguf(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors, const std::string& source);

}  // namespace cream
