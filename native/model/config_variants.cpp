// Keys of config.json that change a model's numbers and that the engine does not implement. They
// are refused by name, because a model that is read without them differs from transformers.
#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "model/config_keys.h"
#include "model/families.h"

namespace cream {

namespace {

bool contains(std::initializer_list<std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_one(const JsonValue& value) {
  double number = 0;
  return value.is_null() || (value.number(number) && number == 1);
}

constexpr const char* kExperts[] = {"num_local_experts", "num_experts", "n_routed_experts",
                                    "moe_num_experts"};

// Neutral when off.
constexpr const char* kOptions[] = {"use_bidirectional_attention",
                                    "lm_head_bias",
                                    "add_cross_attention",
                                    "alibi",
                                    "altup_num_inputs",
                                    "attention_chunk_size",
                                    "attention_out_bias",
                                    "attention_scale",
                                    "attn_logit_softcap",
                                    "attn_output_gate",
                                    "attn_scale",
                                    "attn_temperature_tuning",
                                    "clip_qkv",
                                    "cross_attention_layers",
                                    "dim_model_base",
                                    "global_rope_theta",
                                    "hidden_size_per_layer_input",
                                    "interleaved_rope",
                                    "is_encoder_decoder",
                                    "kv_lora_rank",
                                    "local_rope_theta",
                                    "logits_soft_cap",
                                    "mup_enabled",
                                    "num_kv_shared_layers",
                                    "output_logit_softcap",
                                    "parallel_attn",
                                    "parallel_residual",
                                    "pruned_heads",
                                    "q_lora_rank",
                                    "qk_layernorm",
                                    "qk_norm",
                                    "rope_interleave",
                                    "rope_interleaved",
                                    "scale_depth",
                                    "scale_embedding",
                                    "softmax_scale",
                                    "swiglu_limit",
                                    "use_alibi",
                                    "use_mrope",
                                    "use_mup",
                                    "use_parallel_residual",
                                    "use_qk_norm"};

// Factors, neutral at 1; Granite honours some of them (Family::keys).
constexpr const char* kFactors[] = {"attention_in_multiplier",
                                    "attention_out_multiplier",
                                    "embedding_multiplier",
                                    "embedding_scale",
                                    "key_multiplier",
                                    "lm_head_multiplier",
                                    "logit_scale",
                                    "logits_scaling",
                                    "residual_multiplier",
                                    "residual_scale",
                                    "rope_pct",
                                    "rope_ratio",
                                    "rotary_emb_fraction",
                                    "rotary_pct",
                                    "scale_emb",
                                    "width_multiplier"};

// Options that some families honour (Family::keys); neutral when off.
constexpr const char* kFamilyOptions[] = {"attention_multiplier",    "attn_logit_softcapping",
                                          "final_logit_softcapping", "no_rope_layers",
                                          "query_pre_attn_scalar",   "rope_local_base_freq"};

// Keys that transformers does not read in this family, so a config that sets one is meant for
// another family.
template <class Set>
void refuse_windows(const ConfigKeys& keys, const Family& family, const Set& set) {
  constexpr int64_t kAny = int64_t{1} << 40;
  if (!family.has("sliding_window")) {
    if (keys.flag("use_sliding_window", false)) set("use_sliding_window");
    const int64_t window = keys.optional("sliding_window", 0, 0, kAny);
    if (window > 0 && window < keys.optional("max_position_embeddings",
                                             family.defaults.max_position_embeddings, 1, kAny))
      set("sliding_window");
  }
  const int64_t period = family.pattern.period;
  if (period > 0 && !family.has("sliding_window_pattern") && keys.list("layer_types").empty() &&
      keys.optional("sliding_window_pattern", period, 1, 1 << 20) != period)
    keys.refuse("sliding_window_pattern", "is not " + std::to_string(period) + " in a " +
                                              family.defaults.model_type + " model");
}

}  // namespace

void refuse_variants(const ConfigKeys& keys, const Family& family) {
  const std::string& model_type = family.defaults.model_type;
  for (const char* key : {"quantization_config", "compression_config", "quantization"})
    if (keys.find(key)) keys.refuse(key, "is present", "Use the unquantized model");
  if (!keys.flag("is_causal", true))
    keys.refuse("is_causal", "is false, so that a token sees the tokens after it");
  for (const char* key : kExperts)
    if (keys.optional(key, 0, 0, 1 << 20) > 0)
      keys.refuse(key, "asks for experts", "Use a dense model");
  const auto set = [&](const char* key) {
    const bool flag = keys.find(key)->boolean() != nullptr;
    keys.refuse(key, (flag ? "is true in a " : "is set in a ") + model_type + " model");
  };
  for (const char* key : kOptions)
    if (keys.find(key) && !is_empty(*keys.find(key))) set(key);
  for (const char* key : kFactors)
    if (!family.has(key) && keys.find(key) && !is_one(*keys.find(key)))
      keys.refuse(key, "is not 1 in a " + model_type + " model");
  for (const char* key : kFamilyOptions)
    if (!family.has(key) && keys.find(key) && !is_empty(*keys.find(key))) set(key);
  refuse_windows(keys, family, set);
}

void refuse_unknown_scaling(const ConfigKeys& keys, const Family& family) {
  for (const JsonMember& member : keys.members())
    if (!is_empty(member.value) &&
        !contains({"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor",
                   "attention_factor", "original_max_position_embeddings", "low_freq_factor",
                   "high_freq_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim",
                   "truncate", "short_factor", "long_factor",
                   "max_position_embeddings"},  // transformers does not read the last one
                  member.key) &&
        !family.has(member.key))
      keys.refuse(member.key.c_str(), "is set", "Use a model without this RoPE scaling");
}

}  // namespace cream
