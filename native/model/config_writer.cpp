// ModelConfig → the config.json that transformers reads back to the same model: version 5's
// rope_parameters beside version 4's rope_theta and rope_scaling. Only the keys that the family
// knows are written.
#include <algorithm>

#include "model/config.h"
#include "model/families.h"
#include "support/json.h"

namespace cream {

namespace {

void write_list(JsonWriter& out, const char* key, const std::vector<double>& numbers) {
  out.key(key), out.begin_array();
  for (const double number : numbers) out.value(number);
  out.end_array();
}

// Writes the keys that are set, in alphabetical order; rope_theta only in version 5's object.
void write_scaling(JsonWriter& out, const RopeConfig& rope, bool with_theta) {
  const auto given = [&](const char* key, double value) {
    if (value > 0) out.key(key), out.real(value);
  };
  out.begin_object();
  given("attention_factor", rope.attention_factor);
  given("beta_fast", rope.beta_fast);
  given("beta_slow", rope.beta_slow);
  given("factor", rope.factor);
  given("high_freq_factor", rope.high_freq_factor);
  if (rope.type == "longrope") write_list(out, "long_factor", rope.long_factor);
  given("llama_4_scaling_beta", rope.llama_4_scaling_beta);
  given("low_freq_factor", rope.low_freq_factor);
  given("mscale", rope.mscale);
  given("mscale_all_dim", rope.mscale_all_dim);
  if (rope.type == "llama3" || rope.type == "yarn" || rope.type == "longrope")
    out.key("original_max_position_embeddings"), out.value(rope.original_max_position_embeddings);
  if (rope.partial_rotary_factor != 1)
    out.key("partial_rotary_factor"), out.value(rope.partial_rotary_factor);
  if (with_theta) out.key("rope_theta"), out.value(rope.theta);
  out.key("rope_type"), out.value(rope.type);
  if (rope.type == "longrope") write_list(out, "short_factor", rope.short_factor);
  if (!rope.truncate) out.key("truncate"), out.value(false);
  out.end_object();
}

void write_rope(JsonWriter& out, const Family& family, const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  if (rope.partial_rotary_factor != 1)
    out.key("partial_rotary_factor"), out.value(rope.partial_rotary_factor);
  if (family.has("rope_local_base_freq"))
    out.key("rope_local_base_freq"), out.value(config.local_rope->theta);
  out.key("rope_parameters");  // read by transformers 5
  if (config.local_rope) {
    out.begin_object();
    out.key("full_attention"), write_scaling(out, rope, true);
    out.key("sliding_attention"), write_scaling(out, *config.local_rope, true);
    out.end_object();
  } else {
    write_scaling(out, rope, true);
  }
  out.key("rope_scaling");  // with rope_theta, read by transformers 4
  if (rope.type == "default")
    out.null();
  else
    write_scaling(out, rope, false);
  out.key("rope_theta"), out.value(rope.theta);
}

void write_special_tokens(JsonWriter& out, const ModelConfig& config) {
  out.key("bos_token_id");
  config.bos_token_id < 0 ? out.null() : out.value(config.bos_token_id);
  out.key("eos_token_id");
  if (config.eos_token_ids.empty()) return out.null();
  if (config.eos_token_ids.size() == 1) return out.value(config.eos_token_ids[0]);
  out.begin_array();
  for (const int64_t id : config.eos_token_ids) out.value(id);
  out.end_array();
}

void write_cap(JsonWriter& out, const char* key, double cap) {
  out.key(key);
  cap > 0 ? out.real(cap) : out.null();
}

void write_multipliers(JsonWriter& out, const Family& family, const ModelConfig& config) {
  const auto factor = [&](const char* key, double value) {
    if (family.has(key)) out.key(key), out.real(value);
  };
  factor("attention_multiplier", config.attention_multiplier);
  factor("embedding_multiplier", config.embedding_multiplier);
  factor("logits_scaling", config.logits_scaling);
  factor("residual_multiplier", config.residual_multiplier);
}

// Version 4 reads max_window_layers, version 5 layer_types; both are written.
void write_layers(JsonWriter& out, const Family& family, const ModelConfig& config) {
  if (!family.has("sliding_window")) return;
  // sliding_window alone suffices: transformers 5 takes a mistral with layer_types for a ministral.
  const bool as_by_default = family.pattern.kind == LayerPattern::all &&
                             std::all_of(config.layers.begin(), config.layers.end(),
                                         [](const LayerKind& kind) { return kind.sliding; });
  if (family.has("layer_types") && !as_by_default) {
    out.key("layer_types"), out.begin_array();
    for (int64_t i = 0; i < config.num_layers; ++i)
      out.value(config.layer(i).sliding ? "sliding_attention" : "full_attention");
    out.end_array();
  }
  if (family.has("no_rope_layers")) {
    out.key("no_rope_layers"), out.begin_array();
    for (int64_t i = 0; i < config.num_layers; ++i) out.value(int64_t{config.layer(i).rope});
    out.end_array();
  }
  if (family.has("max_window_layers")) {
    int64_t full = 0;
    while (full < config.num_layers && !config.layer(full).sliding) ++full;
    out.key("max_window_layers"), out.value(full);
  }
  out.key("sliding_window");
  config.sliding_window > 0 ? out.value(config.sliding_window) : out.null();
  if (family.has("use_sliding_window"))
    out.key("use_sliding_window"), out.value(config.sliding_window > 0);
}

}  // namespace

std::string config_to_json(const ModelConfig& config, DType dtype) {
  const char* dtype_name = dtype == DType::bfloat16 ? "bfloat16" : "float32";
  const Family& family = family_of(config);
  JsonWriter out;
  out.begin_object();
  out.key("architectures"), out.begin_array(), out.value(config.architecture), out.end_array();
  if (family.has("attention_bias")) out.key("attention_bias"), out.value(config.output_bias);
  out.key("attention_dropout"), out.value(0.0);
  if (family.has("attn_logit_softcapping"))
    write_cap(out, "attn_logit_softcapping", config.attention_softcap);
  write_special_tokens(out, config);
  out.key("dtype"), out.value(dtype_name);  // transformers 5's name of torch_dtype
  if (family.has("final_logit_softcapping"))
    write_cap(out, "final_logit_softcapping", config.final_softcap);
  out.key("head_dim"), out.value(config.head_dim);
  out.key(family.has("hidden_activation") ? "hidden_activation" : "hidden_act"),
      out.value(config.activation == Activation::silu ? "silu" : "gelu_pytorch_tanh");
  out.key("hidden_size"), out.value(config.hidden_size);
  out.key("initializer_range"), out.value(0.02);
  out.key("intermediate_size"), out.value(config.intermediate_size);
  out.key("max_position_embeddings"), out.value(config.max_position_embeddings);
  if (family.has("mlp_bias")) out.key("mlp_bias"), out.value(config.mlp_bias);
  out.key("model_type"), out.value(config.model_type);
  out.key("num_attention_heads"), out.value(config.num_heads);
  out.key("num_hidden_layers"), out.value(config.num_layers);
  out.key("num_key_value_heads"), out.value(config.num_kv_heads);
  if (config.num_labels > 0) out.key("num_labels"), out.value(config.num_labels);
  if (family.has("original_max_position_embeddings"))
    out.key("original_max_position_embeddings"),
        out.value(config.rope.original_max_position_embeddings);
  out.key("pad_token_id");
  config.pad_token_id < 0 ? out.null() : out.value(config.pad_token_id);
  if (family.has("query_pre_attn_scalar"))
    out.key("query_pre_attn_scalar"),
        out.value(static_cast<int64_t>(
            config.query_pre_attn_scalar));  // transformers requires an integer
  out.key("rms_norm_eps"), out.value(config.rms_norm_eps);
  write_multipliers(out, family, config);
  write_rope(out, family, config);
  write_layers(out, family, config);
  out.key("tie_word_embeddings"), out.value(config.tie_word_embeddings);
  out.key("torch_dtype"), out.value(dtype_name);
  out.key("use_cache"), out.value(true);
  out.key("vocab_size"), out.value(config.vocab_size);
  out.end_object();
  return out.take() + "\n";
}

}  // namespace cream
