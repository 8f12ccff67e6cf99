// The parameter table: the engine's parameters, their shapes, and the tensors of a Hugging Face or
// GGUF file that each consists of. Loading, saving, training, LoRA's modules and memory plans read
// it, so a family with other tensors changes only this table.
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
  std::string module;  // Hugging Face's path within the layer: "self_attn.q_proj"
};

struct Parameter {
  std::string name;            // in the engine, "layers.3.qkv"
  std::vector<int64_t> shape;  // [rows, columns] or [n]
  std::vector<Part> parts;
  int64_t layer = -1;     // −1: outside the layers
  std::string slot = {};  // the name within the layer: "qkv"
};

// All parameters in the order of the forward pass: embedding, layers, final_norm, head (if untied).
std::vector<Parameter> parameter_layout(const ModelConfig& config);
// The parameters of one layer.
std::vector<Parameter> layer_layout(const ModelConfig& config, int64_t index);

// Whether a file may contain this tensor although it is not used, such as a second copy of a tied
// head or RoPE's frequencies.
bool is_redundant(const std::string& name, const ModelConfig& config);

}  // namespace cream
