#include "weights/gguf_config.h"

#include <algorithm>

#include "weights/extent.h"

namespace cream {

namespace {

class Metadata {
 public:
  Metadata(const GgufMetadata& metadata, const std::string& source) : metadata_(metadata), source_(source) {}

  const JsonValue* find(const std::string& key) const {
    if (metadata_.array_lengths.count(key)) bad_file(source_, "the metadata key " + quote(key) + " is an array where one value is expected.");
    const auto entry = metadata_.scalars.find(key);
    return entry == metadata_.scalars.end() ? nullptr : &entry->second;
  }

  int64_t optional(const std::string& key, int64_t fallback, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    const int64_t* number = value->integer();
    if (!number || *number < low || *number > high)
      bad_file(source_, "the metadata key " + quote(key) + " must be a whole number from " + std::to_string(low) + " to " +
                            std::to_string(high) + ".");
    return *number;
  }

  int64_t required(const std::string& key, int64_t high) const {
    if (!find(key)) bad_file(source_, "the metadata key " + quote(key) + " is missing.");
    return optional(key, 0, 1, high);
  }

  double real(const std::string& key, double fallback) const {
    const JsonValue* value = find(key);
    double number = fallback;
    if (value && !value->number(number)) bad_file(source_, "the metadata key " + quote(key) + " must be a number.");
    return number;
  }

  std::string text(const std::string& key, const std::string& fallback) const {
    const JsonValue* value = find(key);
    if (value && !value->string()) bad_file(source_, "the metadata key " + quote(key) + " must be a string.");
    return value ? *value->string() : fallback;
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& what) const {
    throw Error(ErrorCode::unsupported, source_ + ": " + key + " " + what + ", which this engine does not implement. Use a plain Llama model.");
  }

 private:
  const GgufMetadata& metadata_;
  const std::string& source_;
};

const TensorInfo* tensor(const std::vector<TensorInfo>& tensors, const std::string& name) {
  const auto at = std::find_if(tensors.begin(), tensors.end(), [&](const TensorInfo& info) { return info.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

void refuse_variants(const Metadata& metadata, const std::vector<TensorInfo>& tensors) {
  const std::string architecture = metadata.text("general.architecture", "");
  if (architecture != "llama") metadata.refuse("general.architecture", "is " + quote(architecture) + " instead of \"llama\"");
  const std::string type = metadata.text("general.type", "model");
  if (type != "model") metadata.refuse("general.type", "is " + quote(type) + " instead of \"model\"");
  if (metadata.optional("split.count", 1, 0, 65535) > 1) metadata.refuse("split.count", "says that the model is cut into several files");
  if (metadata.optional("llama.expert_count", 0, 0, 65535) > 0) metadata.refuse("llama.expert_count", "asks for experts");
  const std::string scaling = metadata.text("llama.rope.scaling.type", "none");
  if (scaling != "none") metadata.refuse("llama.rope.scaling.type", "asks for RoPE scaling of type " + quote(scaling));
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"})
    if (metadata.real(key, 1) != 1 && metadata.real(key, 1) != 0) metadata.refuse(key, "asks for RoPE scaling");
  if (tensor(tensors, "rope_freqs.weight")) metadata.refuse("the tensor \"rope_freqs.weight\"", "asks for RoPE scaling");
}

void read_heads(const Metadata& metadata, ModelConfig& config, const std::string& source) {
  config.num_heads = metadata.required("llama.attention.head_count", ConfigLimits::heads);
  config.num_kv_heads = metadata.optional("llama.attention.head_count_kv", config.num_heads, 1, config.num_heads);
  const bool explicit_size = metadata.find("llama.attention.key_length");
  if (!explicit_size && config.hidden_size % config.num_heads != 0)
    bad_file(source, "llama.embedding_length is not a multiple of llama.attention.head_count.");
  config.head_dim = metadata.optional("llama.attention.key_length", config.hidden_size / config.num_heads, 1, ConfigLimits::head_dim);
  for (const char* key : {"llama.attention.value_length", "llama.rope.dimension_count"})
    if (metadata.optional(key, config.head_dim, 1, ConfigLimits::head_dim) != config.head_dim)
      metadata.refuse(key, "differs from the head size of " + std::to_string(config.head_dim));
}

}  // namespace

ModelConfig config_from_gguf(const GgufMetadata& values, const std::vector<TensorInfo>& tensors, const std::string& source) {
  const Metadata metadata(values, source);
  refuse_variants(metadata, tensors);
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.model_type = "llama";
  const TensorInfo* embedding = tensor(tensors, "token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) bad_file(source, "the tensor \"token_embd.weight\" is missing or no matrix.");
  config.vocab_size = embedding->shape[0];
  const auto tokens = values.array_lengths.find("tokenizer.ggml.tokens");
  if (tokens != values.array_lengths.end() && tokens->second != static_cast<uint64_t>(config.vocab_size))
    bad_file(source, "tokenizer.ggml.tokens lists " + std::to_string(tokens->second) +
                         " tokens, the embedding has " + std::to_string(config.vocab_size) + " rows.");
  config.hidden_size = metadata.required("llama.embedding_length", ConfigLimits::hidden);
  config.intermediate_size = metadata.required("llama.feed_forward_length", ConfigLimits::intermediate);
  config.num_layers = metadata.required("llama.block_count", ConfigLimits::layers);
  config.max_position_embeddings = metadata.required("llama.context_length", ConfigLimits::positions);
  config.rms_norm_eps = metadata.real("llama.attention.layer_norm_rms_epsilon", 1e-5);
  config.rope_theta = metadata.real("llama.rope.freq_base", 10000.0);
  config.tie_word_embeddings = !tensor(tensors, "output.weight");
  read_heads(metadata, config, source);
  validate_config(config, source);
  const int64_t last = config.vocab_size - 1;
  config.bos_token_id = metadata.optional("tokenizer.ggml.bos_token_id", -1, 0, last);
  const int64_t eos = metadata.optional("tokenizer.ggml.eos_token_id", -1, 0, last);
  if (eos >= 0) config.eos_token_ids.push_back(eos);
  return config;
}

}  // namespace cream
