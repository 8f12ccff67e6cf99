// Readers of model files. Every header field is untrusted: sizes, offsets, overlaps, dtypes and
// shapes are verified before any byte is read through them. An invalid file throws
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
  uint64_t offset = 0, bytes = 0;  // within the file
};

// Immutable and safe to use from any thread; keeps its files mapped.
class WeightsReader {
 public:
  virtual ~WeightsReader() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // Reads into a contiguous float32 or bfloat16 tensor of the same number of elements, dequantised
  // if needed, in parallel. Throws Error{invalid_file} if there is no such tensor and
  // Error{unsupported} for an element type that cannot be converted.
  virtual void read_into(const std::string& name, Tensor out) const = 0;
  // The tensor as float32 or bfloat16, in memory of its own.
  Tensor read(const std::string& name, at::ScalarType dtype) const;
  // Null if there is no such tensor.
  const TensorInfo* find(const std::string& name) const;
};

// A .safetensors file, or a folder's model.safetensors, or its model.safetensors.index.json with
// shards. Memory-mapped.
class SafetensorsReader : public WeightsReader {
 public:
  // The strings of "__metadata__", sorted by key; for a sharded model, those of the first shard.
  virtual const std::vector<std::pair<std::string, std::string>>& metadata() const = 0;
  // Copies the raw bytes to a contiguous CPU tensor of the same size in bytes; throws
  // Error{invalid_file} if the size differs.
  virtual void read_bytes(const std::string& name, Tensor out) const = 0;
};
std::unique_ptr<SafetensorsReader> open_safetensors(const std::string& path);

// One GGUF file (version 2 or 3) of a family that config_from_gguf knows. Tensors are returned as
// Hugging Face stores them: rows of Llama's q and k in rotate-half order, Gemma's norms without the
// 1 that GGUF adds.
class GgufReader : public WeightsReader {
 public:
  virtual const std::string& metadata_json()
      const = 0;  // all header keys as one JSON object, arrays included
  virtual const ModelConfig& config() const = 0;
};
std::unique_ptr<GgufReader> open_gguf(const std::string& path);

// Parsing of headers from bytes, for fuzzers and tests with hostile files. No result points outside
// the bytes.
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
