#include "model/families.h"

#include <algorithm>

#include "support/error.h"

namespace cream {

namespace {

using Pattern = LayerPattern;

// One row per model_type; each begins with the defaults of transformers' configuration class.
std::vector<Family> make_families() {
  return {
      {.defaults = {.architecture = "LlamaForCausalLM",
                    .model_type = "llama",
                    .max_position_embeddings = 2048,
                    .rms_norm_eps = 1e-6,
                    .bos_token_id = 1,
                    .eos_token_ids = {2}},
       .keys = {"attention_bias", "mlp_bias"},
       .gguf = {.architecture = "llama", .as_llama = true},
       .classifies = true},
      {.defaults = {.architecture = "MistralForCausalLM",
                    .model_type = "mistral",
                    .num_kv_heads = 8,
                    .max_position_embeddings = 131072,
                    .rms_norm_eps = 1e-6,
                    .bos_token_id = 1,
                    .eos_token_ids = {2},
                    .sliding_window = 4096},
       .keys = {"sliding_window", "layer_types"},
       .pattern = {Pattern::all}},
      {.defaults = {.architecture = "MinistralForCausalLM",
                    .model_type = "ministral",
                    .num_kv_heads = 8,
                    .max_position_embeddings = 131072,
                    .rms_norm_eps = 1e-6,
                    .bos_token_id = 1,
                    .eos_token_ids = {2},
                    .sliding_window = 4096},
       .keys = {"sliding_window", "layer_types"},
       .pattern = {Pattern::all}},
      {.defaults = {.architecture = "Ministral3ForCausalLM",
                    .model_type = "ministral3",
                    .num_kv_heads = 8,
                    .head_dim = 128,
                    .max_position_embeddings = 262144,
                    .rms_norm_eps = 1e-5,
                    .bos_token_id = 1,
                    .eos_token_ids = {2},
                    .pad_token_id = 11,
                    .rope = {.type = "yarn",
                             .theta = 1e6,
                             .factor = 16,
                             .original_max_position_embeddings = 16384,
                             .beta_fast = 32,
                             .beta_slow = 1,
                             .mscale = 1,
                             .mscale_all_dim = 1,
                             .llama_4_scaling_beta = 0.1}},
       .keys = {"sliding_window", "llama_4_scaling_beta"},
       .pattern = {Pattern::all}},
      {.defaults = {.architecture = "Qwen2ForCausalLM",
                    .model_type = "qwen2",
                    .num_kv_heads = 32,
                    .max_position_embeddings = 32768,
                    .rms_norm_eps = 1e-6,
                    .qkv_bias = true,
                    .sliding_window = 4096},
       .keys = {"sliding_window", "use_sliding_window", "max_window_layers", "layer_types"},
       .pattern = {Pattern::from_max_window},
       .gguf = {.architecture = "qwen2"},
       .classifies = true},
      {.defaults = {.architecture = "Qwen3ForCausalLM",
                    .model_type = "qwen3",
                    .num_kv_heads = 32,
                    .head_dim = 128,
                    .max_position_embeddings = 32768,
                    .rms_norm_eps = 1e-6,
                    .qk_norm = QkNorm::per_head,
                    .sliding_window = 4096},
       .keys = {"attention_bias", "sliding_window", "use_sliding_window", "max_window_layers",
                "layer_types"},
       .pattern = {Pattern::from_max_window},
       .gguf = {.architecture = "qwen3"},
       .classifies = true},
      {.defaults = {.architecture = "SmolLM3ForCausalLM",
                    .model_type = "smollm3",
                    .num_kv_heads = 4,
                    .max_position_embeddings = 32768,
                    .rms_norm_eps = 1e-6,
                    .tie_word_embeddings = true,
                    .bos_token_id = 128000,
                    .eos_token_ids = {128001},
                    .pad_token_id = 128004,
                    .rope = {.theta = 2e6}},
       .keys = {"attention_bias", "mlp_bias", "sliding_window", "use_sliding_window", "layer_types",
                "no_rope_layers", "no_rope_layer_interval"},
       .pattern = {Pattern::without_rope}},
      {.defaults = {.architecture = "Gemma2ForCausalLM",
                    .model_type = "gemma2",
                    .num_kv_heads = 4,
                    .head_dim = 256,
                    .max_position_embeddings = 8192,
                    .rms_norm_eps = 1e-6,
                    .tie_word_embeddings = true,
                    .bos_token_id = 2,
                    .eos_token_ids = {1},
                    .pad_token_id = 0,
                    .output_norms = true,
                    .norm_offset = 1,
                    .scaled_embedding = true,
                    .activation = Activation::gelu_tanh,
                    .query_pre_attn_scalar = 256,
                    .attention_softcap = 50,
                    .final_softcap = 30,
                    .sliding_window = 4096},
       .keys = {"attention_bias", "hidden_activation", "attn_logit_softcapping",
                "final_logit_softcapping", "query_pre_attn_scalar", "sliding_window",
                "layer_types"},
       .pattern = {Pattern::all_but_every, 2},
       .gguf = {.architecture = "gemma2", .window = true, .layers_with_wide_scale = 46}},
      {.defaults = {.architecture = "Gemma3ForCausalLM",
                    .model_type = "gemma3_text",
                    .num_kv_heads = 4,
                    .head_dim = 256,
                    .max_position_embeddings = 131072,
                    .rms_norm_eps = 1e-6,
                    .tie_word_embeddings = true,
                    .bos_token_id = 2,
                    .eos_token_ids = {1},
                    .pad_token_id = 0,
                    .rope = {.theta = 1e6},
                    .local_rope = RopeConfig{},
                    .qk_norm = QkNorm::per_head,
                    .output_norms = true,
                    .norm_offset = 1,
                    .scaled_embedding = true,
                    .activation = Activation::gelu_tanh,
                    .query_pre_attn_scalar = 256,
                    .sliding_window = 4096},
       .keys = {"attention_bias", "hidden_activation", "final_logit_softcapping",
                "query_pre_attn_scalar", "sliding_window", "sliding_window_pattern", "layer_types",
                "rope_local_base_freq"},
       .pattern = {Pattern::all_but_every, 6},
       .gguf = {.architecture = "gemma3", .window = true, .layers_with_wide_scale = 62}},
      {.defaults = {.architecture = "Phi3ForCausalLM",
                    .model_type = "phi3",
                    .max_position_embeddings = 4096,
                    .rms_norm_eps = 1e-5,
                    .bos_token_id = 1,
                    .eos_token_ids = {32000},
                    .pad_token_id = 32000,
                    .rope = {.original_max_position_embeddings = 4096},
                    .joined_projections = true},
       .keys = {"sliding_window", "partial_rotary_factor", "original_max_position_embeddings"},
       .pattern = {Pattern::all},
       .gguf = {.architecture = "phi3", .window = true}},
      {.defaults = {.architecture = "Olmo2ForCausalLM",
                    .model_type = "olmo2",
                    .max_position_embeddings = 2048,
                    .rms_norm_eps = 1e-5,
                    .eos_token_ids = {50279},
                    .pad_token_id = 1,
                    .qk_norm = QkNorm::whole,
                    .input_norms = false,
                    .output_norms = true},
       .keys = {"attention_bias"},
       .gguf = {.architecture = "olmo2"}},
      {.defaults = {.architecture = "Olmo3ForCausalLM",
                    .model_type = "olmo3",
                    .max_position_embeddings = 2048,
                    .rms_norm_eps = 1e-5,
                    .eos_token_ids = {50279},
                    .pad_token_id = 1,
                    .rope = {.theta = 5e5},
                    .local_rope = RopeConfig{.theta = 5e5},
                    .qk_norm = QkNorm::whole,
                    .input_norms = false,
                    .output_norms = true,
                    .sliding_window = 4096},
       .keys = {"attention_bias", "sliding_window", "layer_types"},
       .pattern = {Pattern::all_but_every, 4},
       .gguf = {.architecture = "olmo2", .window = true}},
      {.defaults = {.architecture = "GraniteForCausalLM",
                    .model_type = "granite",
                    .max_position_embeddings = 2048,
                    .rms_norm_eps = 1e-6,
                    .bos_token_id = 1,
                    .eos_token_ids = {2},
                    .attention_multiplier = 1},
       .keys = {"attention_bias", "mlp_bias", "attention_multiplier", "embedding_multiplier",
                "residual_multiplier", "logits_scaling"},
       .gguf = {.architecture = "granite", .as_llama = true}},
  };
}

constexpr Multimodal kMultimodal[] = {{"gemma3", "gemma3_text"}, {"mistral3", "mistral"}};

}  // namespace

bool Family::has(std::string_view key) const {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

const std::vector<Family>& families() {
  static const std::vector<Family> all = make_families();
  return all;
}

const Family* find_family(std::string_view model_type) {
  for (const Family& family : families())
    if (family.defaults.model_type == model_type) return &family;
  return nullptr;
}

const Family& family_of(const ModelConfig& config) {
  if (const Family* family = find_family(config.model_type)) return *family;
  throw Error(ErrorCode::internal, "[model] there is no family " + config.model_type + ".");
}

const Multimodal* find_multimodal(std::string_view model_type) {
  for (const Multimodal& kind : kMultimodal)
    if (model_type == kind.model_type) return &kind;
  return nullptr;
}

std::string known_families() {
  std::string names;
  for (const Family& family : families())
    names += (names.empty() ? "" : ", ") + family.defaults.model_type;
  for (const Multimodal& kind : kMultimodal) names += std::string(", ") + kind.model_type;
  return names;
}

}  // namespace cream
