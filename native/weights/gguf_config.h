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

// rope_freqs: the tensor "rope_freqs.weight" (llama3 scaling, one factor per rotated pair), or
// empty. Throws Error{invalid_file} for missing or impossible values and Error{unsupported} for
// unknown families and scalings.
ModelConfig config_from_gguf(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors,
                             const std::vector<float>& rope_freqs, const std::string& source);

}  // namespace cream
