// The engine's parameters, and the tensors of a Hugging Face or GGUF file that each consists of. A
// new model family adds its names here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace cream {

// One tensor of a file. The parts of a parameter are concatenated along the rows.
struct Part {
  std::string huggingface, gguf;
  std::vector<int64_t> shape;
};

struct Parameter {
  std::string name;            // in the engine, "layers.3.qkv"
  std::vector<int64_t> shape;  // [rows, columns] or [n]
  std::vector<Part> parts;
};

// In the engine's order: embedding, layer by layer, final_norm, head (untied only).
std::vector<Parameter> parameter_layout(const ModelConfig& config);

// Whether a file may hold this tensor although it is not used: a tied head stored again, RoPE's
// frequencies.
bool is_redundant(const std::string& name, const ModelConfig& config);

}  // namespace cream
