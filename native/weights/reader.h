// Model files in, checked tensors out. Every header field is untrusted: sizes, offsets, overlaps, dtypes and shapes are
// verified before a byte is read through them; anything wrong throws Error{invalid_file} naming file and tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

struct TensorInfo {
  std::string name;            // as in the file
  std::vector<int64_t> shape;  // row-major, outermost first (GGUF's order reversed)
  std::string dtype;           // "F32", "BF16", "Q4_K", …
};

class WeightsReader {
 public:
  virtual ~WeightsReader() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // The tensor as `dtype` (float32 or bfloat16), in memory of its own, dequantised where need be.
  virtual Tensor read(const std::string& name, at::ScalarType dtype) const = 0;
};

// A .safetensors file, or a folder's model.safetensors or model.safetensors.index.json with its shards. Memory-mapped.
std::unique_ptr<WeightsReader> open_safetensors(const std::string& path);

// One GGUF file (version 2 or 3).
class GgufReader : public WeightsReader {
 public:
  virtual const std::string& metadata_json() const = 0;  // every key of the header as one JSON object, arrays included
  virtual ModelConfig config() const = 0;
};
std::unique_ptr<GgufReader> open_gguf(const std::string& path);

// Parsing alone, on bytes: what the fuzzers and hostile tests call.
std::vector<TensorInfo> parse_safetensors_header(const uint8_t* data, size_t size, const std::string& source);

}  // namespace cream
