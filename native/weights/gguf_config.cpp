#include "weights/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>

#include "model/families.h"
#include "weights/extent.h"

namespace cream {

namespace {

class Fields {
 public:
  Fields(const GgufMetadata& metadata, const std::string& source)
      : metadata_(metadata), source_(source) {}

  const JsonValue* find(const std::string& key) const {
    if (metadata_.array_lengths.count(key))
      bad_file(source_,
               "the metadata key " + quote(key) + " is an array where one value is expected.");
    const auto entry = metadata_.scalars.find(key);
    return entry == metadata_.scalars.end() ? nullptr : &entry->second;
  }

  int64_t optional(const std::string& key, int64_t fallback, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    const int64_t* number = value->integer();
    if (!number || *number < low || *number > high)
      bad_file(source_, "the metadata key " + quote(key) + " must be a whole number from " +
                            std::to_string(low) + " to " + std::to_string(high) + ".");
    return *number;
  }

  int64_t required(const std::string& key, int64_t high) const {
    if (!find(key)) bad_file(source_, "the metadata key " + quote(key) + " is missing.");
    return optional(key, 0, 1, high);
  }

  double real(const std::string& key, double fallback) const {
    const JsonValue* value = find(key);
    double number = fallback;
    if (value && !value->number(number))
      bad_file(source_, "the metadata key " + quote(key) + " must be a number.");
    return number;
  }

  std::string text(const std::string& key, const std::string& fallback) const {
    const JsonValue* value = find(key);
    if (value && !value->string())
      bad_file(source_, "the metadata key " + quote(key) + " must be a string.");
    return value ? *value->string() : fallback;
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& what) const {
    throw Error(
        ErrorCode::unsupported,
        source_ + ": " + key + " " + what +
            ", which this engine does not read from GGUF. Use the model's safetensors folder.");
  }

  // "llama.block_count": most keys carry the architecture's name.
  std::string key(const char* name) const { return text("general.architecture", "") + "." + name; }

 private:
  const GgufMetadata& metadata_;
  const std::string& source_;
};

const TensorInfo* tensor(const std::vector<TensorInfo>& tensors, const std::string& name) {
  const auto at = std::find_if(tensors.begin(), tensors.end(),
                               [&](const TensorInfo& info) { return info.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

const Family& read_family(const Fields& metadata) {
  const std::string architecture = metadata.text("general.architecture", "");
  const bool window = metadata.find(metadata.key("attention.sliding_window"));
  std::string known;
  const Family* found = nullptr;
  for (const Family& family : families()) {
    if (!family.gguf.architecture) continue;
    if (known.find(family.gguf.architecture) == std::string::npos)
      known += (known.empty() ? "" : ", ") + std::string(family.gguf.architecture);
    if (architecture != family.gguf.architecture) continue;
    // OLMo 2 and 3 share a name, and only OLMo 3 has a window.
    if (!found || family.gguf.window == window) found = &family;
  }
  if (found) return *found;
  metadata.refuse("general.architecture", "is " + quote(architecture) + " instead of " + known);
}

void refuse_variants(const Fields& metadata, const std::vector<TensorInfo>& tensors) {
  const std::string type = metadata.text("general.type", "model");
  if (type != "model")
    metadata.refuse("general.type", "is " + quote(type) + " instead of \"model\"");
  if (metadata.optional("split.count", 1, 0, 65535) > 1)
    metadata.refuse("split.count", "says that the model is cut into several files");
  const std::string experts = metadata.key("expert_count");
  if (metadata.optional(experts, 0, 0, 65535) > 0) metadata.refuse(experts, "asks for experts");
  for (const char* name : {"rope_factors_short.weight", "rope_factors_long.weight"})
    if (tensor(tensors, name))
      metadata.refuse("the tensor " + quote(name), "asks for longrope scaling");
}

// The factors that llama.cpp's converter computes for llama3 scaling with Llama 3.1's parameters
// and any factor.
std::vector<double> llama3_factors(const RopeConfig& rope, int64_t head_dim) {
  constexpr double kPi = 3.14159265358979323846;
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  std::vector<double> factors;
  for (int64_t i = 0; i < head_dim; i += 2) {
    const double wavelength =
        2 * kPi * std::pow(rope.theta, static_cast<double>(i) / static_cast<double>(head_dim));
    const double smooth = std::clamp((original / wavelength - rope.low_freq_factor) /
                                         (rope.high_freq_factor - rope.low_freq_factor),
                                     0.0, 1.0);
    factors.push_back(1 / ((1 - smooth) / rope.factor + smooth));
  }
  return factors;
}

void read_rope(const Fields& metadata, const std::vector<float>& rope_freqs, const Family& family,
               ModelConfig& config) {
  RopeConfig& rope = config.rope;
  rope.theta = metadata.real(metadata.key("rope.freq_base"), rope.theta);
  if (config.local_rope)
    config.local_rope->theta =
        metadata.real(metadata.key("rope.freq_base_swa"),
                      family.has("rope_local_base_freq") ? config.local_rope->theta : rope.theta);
  const std::string type_key = metadata.key("rope.scaling.type"),
                    type = metadata.text(type_key, "none");
  const double factor = metadata.real(metadata.key("rope.scaling.factor"),
                                      metadata.real(metadata.key("rope.scale_linear"), 1));
  if (type != "none" && type != "linear")
    metadata.refuse(type_key, "asks for RoPE scaling of type " + quote(type));
  if (factor != 1 && factor != 0) {
    if (!(factor > 0) || !std::isfinite(factor))
      metadata.refuse(metadata.key("rope.scaling.factor"), "is no positive number");
    rope.type = "linear";
    rope.factor = factor;
  }
  if (rope_freqs.empty()) return;
  // The file holds only the factors. Every released Llama has these bounds; others are refused.
  rope.type = "llama3";
  rope.factor = *std::max_element(rope_freqs.begin(), rope_freqs.end());
  rope.low_freq_factor = 1, rope.high_freq_factor = 4, rope.original_max_position_embeddings = 8192;
  const std::vector<double> expected = llama3_factors(rope, config.head_dim);
  bool same = expected.size() == rope_freqs.size() && family.gguf.as_llama;
  for (size_t i = 0; same && i < expected.size(); ++i)
    same = std::abs(rope_freqs[i] - expected[i]) <= 1e-3 * expected[i];
  if (!same)
    metadata.refuse("the tensor \"rope_freqs.weight\"",
                    "holds other factors than Llama 3.1's kind of RoPE scaling");
}

// Reads the options that the file contains; llama.cpp derives others from the family's name.
void read_window(const Fields& metadata, const Family& family, ModelConfig& config) {
  const std::string window = metadata.key("attention.sliding_window");
  if (!family.gguf.window) {
    const int64_t given = metadata.optional(window, 0, 0, int64_t{1} << 40);
    if (given > 0 && given < config.max_position_embeddings)
      metadata.refuse(window, "asks for sliding-window attention");
    config.sliding_window = 0;
    return;
  }
  config.sliding_window = metadata.optional(window, config.sliding_window, 0, int64_t{1} << 40);
  const bool all = family.pattern.kind == LayerPattern::all;
  for (int64_t i = 0; config.sliding_window > 0 && i < config.num_layers; ++i)
    config.layers.push_back({all || (i + 1) % family.pattern.period != 0, true});
}

void read_scores(const Fields& metadata, const Family& family, ModelConfig& config) {
  if (family.has("attn_logit_softcapping"))
    config.attention_softcap =
        metadata.real(metadata.key("attn_logit_softcapping"), config.attention_softcap);
  if (family.has("final_logit_softcapping"))
    config.final_softcap =
        metadata.real(metadata.key("final_logit_softcapping"), config.final_softcap);
  const bool wide = config.num_layers == family.gguf.layers_with_wide_scale;
  if (family.has("query_pre_attn_scalar"))
    config.query_pre_attn_scalar =
        static_cast<double>(wide ? config.hidden_size / config.num_heads : config.head_dim);
}

void read_multipliers(const Fields& metadata, const Family& family, ModelConfig& config) {
  const auto factor = [&](const char* key, const char* name, double& value) {
    if (!family.has(key)) return;
    value = metadata.real(metadata.key(name), value);
    if (!(value > 0) || !std::isfinite(value))
      metadata.refuse(metadata.key(name), "is no positive number");
  };
  factor("embedding_multiplier", "embedding_scale", config.embedding_multiplier);
  factor("residual_multiplier", "residual_scale", config.residual_multiplier);
  factor("logits_scaling", "logit_scale", config.logits_scaling);
  if (!family.has("attention_multiplier")) return;
  config.attention_multiplier = 0;  // llama.cpp's default is 1/√head_dim
  if (metadata.find(metadata.key("attention.scale")))
    factor("attention_multiplier", "attention.scale", config.attention_multiplier);
}

// Takes the biases that the file contains; biases of q and k are not read if their rows are
// interleaved.
void read_biases(const std::vector<TensorInfo>& tensors, const Family& family,
                 ModelConfig& config) {
  const auto there = [&](const std::string& name) {
    return tensor(tensors, "blk.0." + name + ".bias") != nullptr;
  };
  config.qkv_bias = config.qkv_bias || (there("attn_q") && !family.gguf.as_llama);
  config.output_bias = there("attn_output");
  config.mlp_bias = there("ffn_up");
}

void read_heads(const Fields& metadata, ModelConfig& config, const std::string& source) {
  const auto key = [&](const char* name) { return metadata.key(name); };
  config.num_heads = metadata.required(key("attention.head_count"), ConfigLimits::heads);
  config.num_kv_heads =
      metadata.optional(key("attention.head_count_kv"), config.num_heads, 1, config.num_heads);
  const bool explicit_size = metadata.find(key("attention.key_length"));
  if (!explicit_size && config.hidden_size % config.num_heads != 0)
    bad_file(source, key("embedding_length") + " is not a multiple of " +
                         key("attention.head_count") + ".");
  config.head_dim =
      metadata.optional(key("attention.key_length"), config.hidden_size / config.num_heads, 1,
                        ConfigLimits::head_dim);
  for (const char* name : {"attention.value_length", "rope.dimension_count"})
    if (metadata.optional(key(name), config.head_dim, 1, ConfigLimits::head_dim) != config.head_dim)
      metadata.refuse(key(name),
                      "differs from the head size of " + std::to_string(config.head_dim));
}

using Names = std::initializer_list<std::string_view>;

bool contains(Names names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The keys behind the architecture's name that are read, or that change no number here.
bool is_known(std::string_view name, const Family& family) {
  if (contains({"context_length", "embedding_length", "block_count", "feed_forward_length",
                "attention.head_count", "attention.head_count_kv", "attention.key_length",
                "attention.value_length", "attention.layer_norm_rms_epsilon",
                "attention.sliding_window", "rope.freq_base", "rope.dimension_count",
                "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear", "expert_count"},
               name))
    return true;
  if (contains({"vocab_size", "tensor_data_layout", "rope.scaling.finetuned",
                "rope.scaling.original_context_length", "attention.layer_norm_epsilon",
                "expert_used_count"},
               name))
    return true;
  if (name == "rope.freq_base_swa") return family.defaults.local_rope.has_value();
  if (contains({"attn_logit_softcapping", "final_logit_softcapping"}, name))
    return family.has(name);
  return family.has("attention_multiplier") &&
         contains({"attention.scale", "embedding_scale", "residual_scale", "logit_scale"}, name);
}

// Off, or a factor of 1.
bool is_neutral(std::string_view name, const JsonValue& value) {
  double number = 0;
  if (name == "attention.causal") return value.boolean() && *value.boolean();
  if (contains({"rope.scaling.attn_factor", "embedding_scale", "residual_scale", "logit_scale"},
               name) &&
      value.number(number))
    return number == 1;
  return is_empty(value) || (value.number(number) && number == 0);
}

// A key of the architecture that is not known may change the numbers.
void refuse_unknown(const Fields& metadata, const GgufMetadata& values, const Family& family) {
  const std::string prefix = metadata.key("");
  const auto name = [&](const std::string& key) {
    return std::string_view(key).substr(std::min(prefix.size(), key.size()));
  };
  for (const auto& [key, value] : values.scalars)
    if (key.starts_with(prefix) && !is_known(name(key), family) && !is_neutral(name(key), value))
      metadata.refuse(key, "is set");
  for (const auto& [key, length] : values.array_lengths)
    if (key.starts_with(prefix) && !is_known(name(key), family) && length > 0)
      metadata.refuse(key, "is set");
}

}  // namespace

ModelConfig config_from_gguf(const GgufMetadata& values, const std::vector<TensorInfo>& tensors,
                             const std::vector<float>& rope_freqs, const std::string& source) {
  const Fields metadata(values, source);
  const Family& family = read_family(metadata);
  ModelConfig config = family.defaults;
  refuse_variants(metadata, tensors);
  const TensorInfo* embedding = tensor(tensors, "token_embd.weight");
  if (!embedding || embedding->shape.size() != 2)
    bad_file(source, "the tensor \"token_embd.weight\" is missing or no matrix.");
  config.vocab_size = embedding->shape[0];
  const auto tokens = values.array_lengths.find("tokenizer.ggml.tokens");
  if (tokens != values.array_lengths.end() &&
      tokens->second != static_cast<uint64_t>(config.vocab_size))
    bad_file(source, "tokenizer.ggml.tokens lists " + std::to_string(tokens->second) +
                         " tokens, the embedding has " + std::to_string(config.vocab_size) +
                         " rows.");
  config.hidden_size = metadata.required(metadata.key("embedding_length"), ConfigLimits::hidden);
  config.intermediate_size =
      metadata.required(metadata.key("feed_forward_length"), ConfigLimits::intermediate);
  config.num_layers = metadata.required(metadata.key("block_count"), ConfigLimits::layers);
  config.max_position_embeddings =
      metadata.required(metadata.key("context_length"), ConfigLimits::positions);
  const std::string eps = metadata.key("attention.layer_norm_rms_epsilon");
  if (!metadata.find(eps)) bad_file(source, "the metadata key " + quote(eps) + " is missing.");
  config.rms_norm_eps = metadata.real(eps, 0);
  config.tie_word_embeddings = !tensor(tensors, "output.weight");
  read_heads(metadata, config, source);
  read_biases(tensors, family, config);
  read_window(metadata, family, config);
  read_scores(metadata, family, config);
  read_multipliers(metadata, family, config);
  read_rope(metadata, rope_freqs, family, config);
  refuse_unknown(metadata, values, family);
  if (family.has("original_max_position_embeddings"))
    config.rope.original_max_position_embeddings = config.max_position_embeddings;
  validate_config(config, source);
  const int64_t last = config.vocab_size - 1;
  config.bos_token_id = metadata.optional("tokenizer.ggml.bos_token_id", -1, 0, last);
  config.pad_token_id = metadata.optional("tokenizer.ggml.padding_token_id", -1, 0, last);
  config.eos_token_ids.clear();  // the tokenizer's keys decide
  const int64_t eos = metadata.optional("tokenizer.ggml.eos_token_id", -1, 0, last);
  if (eos >= 0) config.eos_token_ids.push_back(eos);
  return config;
}

}  // namespace cream
