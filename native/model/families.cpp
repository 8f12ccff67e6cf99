// The families as data: the defaults of transformers' configuration classes and each family's fixed
// options. A new family needs a row here, the names of its tensors (weights/names.cpp) and a golden
// case (scripts/golden/families.py).
#include "model/config.h"

namespace cream {

namespace {

constexpr const char* kFamilies[] = {"llama",   "mistral", "qwen2",       "qwen3",
                                     "smollm3", "gemma2",  "gemma3_text", "phi3"};

void gemma(ModelConfig& c) {
  c.num_kv_heads = 4;
  c.head_dim = 256;
  c.tie_word_embeddings = c.block_norms = c.scaled_embedding = true;
  c.norm_offset = 1;
  c.activation = Activation::gelu_tanh;
  c.query_pre_attn_scalar = 256;
  c.sliding_window = 4096;
  c.bos_token_id = 2;
  c.eos_token_ids = {1};
  c.pad_token_id = 0;
}

}  // namespace

std::optional<ModelConfig> family_defaults(const std::string& model_type) {
  ModelConfig c;
  c.model_type = model_type;
  c.rms_norm_eps = 1e-6;
  if (model_type == "llama") {
    c.architecture = "LlamaForCausalLM";
    c.max_position_embeddings = 2048;
    c.bos_token_id = 1, c.eos_token_ids = {2};
  } else if (model_type == "mistral") {
    c.architecture = "MistralForCausalLM";
    c.num_kv_heads = 8;
    c.max_position_embeddings = 131072;
    c.sliding_window = 4096;
    c.bos_token_id = 1, c.eos_token_ids = {2};
  } else if (model_type == "qwen2" || model_type == "qwen3") {
    const bool three = model_type == "qwen3";
    c.architecture = three ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM";
    c.num_kv_heads = 32;
    c.head_dim = three ? 128 : 0;
    c.max_position_embeddings = 32768;
    c.qkv_bias = !three;
    c.qk_norm = three;
    c.sliding_window = 4096;
  } else if (model_type == "smollm3") {
    c.architecture = "SmolLM3ForCausalLM";
    c.num_kv_heads = 4;
    c.max_position_embeddings = 32768;
    c.rope.theta = 2e6;
    c.tie_word_embeddings = true;
    c.bos_token_id = 128000, c.eos_token_ids = {128001}, c.pad_token_id = 128004;
  } else if (model_type == "gemma2") {
    c.architecture = "Gemma2ForCausalLM";
    gemma(c);
    c.max_position_embeddings = 8192;
    c.attention_softcap = 50;
    c.final_softcap = 30;
  } else if (model_type == "gemma3_text") {
    c.architecture = "Gemma3ForCausalLM";
    gemma(c);
    c.max_position_embeddings = 131072;
    c.qk_norm = true;
    c.rope.theta = 1e6;
    c.local_rope = RopeConfig{};
  } else if (model_type == "phi3") {
    c.architecture = "Phi3ForCausalLM";
    c.max_position_embeddings = 4096;
    c.rms_norm_eps = 1e-5;
    c.rope.original_max_position_embeddings = 4096;
    c.joined_projections = true;
    c.bos_token_id = 1, c.eos_token_ids = {32000}, c.pad_token_id = 32000;
  } else {
    return std::nullopt;
  }
  return c;
}

std::string known_families() {
  std::string names;
  for (const char* name : kFamilies) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

}  // namespace cream
