// The engine's parameters, and which tensors of a Hugging Face or GGUF file make them up. A new
// model family adds its names here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace cream {

// One tensor of a file; parts of a parameter lie one behind the other along the rows.
struct Part {
  std::string huggingface, gguf;
  std::vector<int64_t> shape;
};

struct Parameter {
  std::string name;            // the engine's, "layers.3.qkv"
  std::vector<int64_t> shape;  // [rows, columns] or [n]
  std::vector<Part> parts;
};

// In the engine's order: embedding, layer by layer, final_norm, head (untied only).
std::vector<Parameter> parameter_layout(const ModelConfig& config);

// Tensors that a file may hold without our using them: a tied head stored again, RoPE's numbers.
bool is_redundant(const std::string& name, const ModelConfig& config);

}  // namespace cream
