// Model files in, checked tensors out. Every header field is untrusted: sizes, offsets, overlaps,
// dtypes and shapes are verified before a byte is read through them; anything wrong throws
// Error{invalid_file} naming file and tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

struct TensorInfo {
  std::string name;                // as in the file
  std::vector<int64_t> shape;      // row-major, outermost first (GGUF's order reversed)
  std::string dtype;               // "F32", "BF16", "Q4_K", …
  uint64_t offset = 0, bytes = 0;  // where in the file
};

// Thread: any; readers are immutable and keep their files mapped while they live.
class WeightsReader {
 public:
  virtual ~WeightsReader() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // Into a contiguous float32 or bfloat16 tensor of the same number of elements, dequantised where
  // need be, in parallel. Throws Error{invalid_file} when there is no such tensor,
  // Error{unsupported} for an element type it cannot convert.
  virtual void read_into(const std::string& name, Tensor out) const = 0;
  // The tensor as `dtype` (float32 or bfloat16), in memory of its own.
  Tensor read(const std::string& name, at::ScalarType dtype) const;
  // Null when there is no such tensor.
  const TensorInfo* find(const std::string& name) const;
};

// A .safetensors file, or a folder's model.safetensors or model.safetensors.index.json with its
// shards. Memory-mapped.
class SafetensorsReader : public WeightsReader {
 public:
  // The strings of "__metadata__", sorted by key; of a sharded model, those of the first shard.
  virtual const std::vector<std::pair<std::string, std::string>>& metadata() const = 0;
  // The bytes as they are, into a contiguous CPU tensor that takes as many; throws
  // Error{invalid_file} where it does not.
  virtual void read_bytes(const std::string& name, Tensor out) const = 0;
};
std::unique_ptr<SafetensorsReader> open_safetensors(const std::string& path);

// One GGUF file (version 2 or 3) of a family that config_from_gguf knows. Tensors come as Hugging
// Face has them: rows of Llama's q and k in the order of rotate-half, Gemma's norms without the 1
// that GGUF adds.
class GgufReader : public WeightsReader {
 public:
  virtual const std::string& metadata_json()
      const = 0;  // every key of the header as one JSON object, arrays included
  virtual const ModelConfig& config() const = 0;
};
std::unique_ptr<GgufReader> open_gguf(const std::string& path);

// Parsing alone, on bytes: what the fuzzers and hostile tests call. Nothing in the results points
// outside the bytes.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // sorted by name
  std::vector<std::pair<std::string, std::string>> metadata;
};
SafetensorsHeader parse_safetensors(const uint8_t* data, size_t size, const std::string& source);

// tensor name → file name, sorted by name; every file name is a plain name within the folder.
std::vector<std::pair<std::string, std::string>> parse_safetensors_index(const std::string& json,
                                                                         const std::string& source);

struct GgufHeader {
  std::vector<TensorInfo> tensors;  // sorted by name
  std::string metadata_json;
  ModelConfig config;
};
GgufHeader parse_gguf(const uint8_t* data, size_t size, const std::string& source);

}  // namespace cream
