// What a decoder-only transformer is, read from a Hugging Face config.json or from GGUF metadata. No tensor here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/types.h"

namespace cream {

struct ModelConfig {
  std::string architecture;  // Hugging Face's class, e.g. "LlamaForCausalLM"
  std::string model_type;    // "llama"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;
  int64_t bos_token_id = -1;        // -1: none
  std::vector<int64_t> eos_token_ids;

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

// What an untrusted file may ask for: large enough for every Llama, small enough that products of two fit easily in 64 bits.
struct ConfigLimits {
  static constexpr int64_t vocab = 1 << 22, hidden = 1 << 17, intermediate = 1 << 20, layers = 1024, heads = 4096, head_dim = 1024,
                           positions = 1 << 20;
};

// Throws Error{invalid_file} naming `source` unless every size is within limits and they fit together.
void validate_config(const ModelConfig& config, const std::string& source);

// Parses and validates; throws Error{invalid_file | unsupported} naming `source`.
ModelConfig config_from_json(const std::string& json, const std::string& source);

// The config.json that transformers reads back to the same model.
std::string config_to_json(const ModelConfig& config, DType dtype);

}  // namespace cream
