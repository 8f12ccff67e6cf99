#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "support/json.h"

namespace cream {

namespace {

// Reads one JSON object, naming file and key in whatever it refuses.
class Keys {
 public:
  Keys(const JsonValue& object, const std::string& source, std::string prefix = "")
      : object_(object), source_(source), prefix_(std::move(prefix)) {}

  // Null where the key is absent or its value is null: Hugging Face writes null for "the default".
  const JsonValue* find(const char* key) const {
    const JsonValue* value = object_.find(key);
    return value && !value->is_null() ? value : nullptr;
  }

  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw Error(ErrorCode::invalid_file, source_ + ": " + prefix_ + key + " " + what + ".");
  }

  [[noreturn]] void refuse(const char* key, const std::string& what) const {
    throw Error(ErrorCode::unsupported, source_ + ": " + prefix_ + key + " " + what +
                                            ", which this engine does not implement. Use a plain Llama model.");
  }

  int64_t whole(const char* key, const JsonValue& value, int64_t low, int64_t high) const {
    const int64_t* number = value.integer();
    if (!number || *number < low || *number > high)
      fail(key, "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return *number;
  }

  int64_t required(const char* key, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    if (!value) fail(key, "is missing");
    return whole(key, *value, low, high);
  }

  int64_t optional(const char* key, int64_t fallback, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    return value ? whole(key, *value, low, high) : fallback;
  }

  double positive(const char* key, double fallback, double high) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    double number = 0;
    if (!value->number(number) || !(number > 0) || number > high) fail(key, "must be a positive number");
    return number;
  }

  bool flag(const char* key, bool fallback) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    if (!value->boolean()) fail(key, "must be true or false");
    return *value->boolean();
  }

  // Empty where absent.
  std::string text(const char* key) const {
    const JsonValue* value = find(key);
    if (!value) return "";
    if (!value->string()) fail(key, "must be a string");
    return *value->string();
  }

 private:
  const JsonValue& object_;
  const std::string& source_;
  std::string prefix_;
};

void check_architecture(const Keys& keys, ModelConfig& config) {
  config.model_type = keys.text("model_type");
  const JsonValue* list = keys.find("architectures");
  const JsonArray* names = list ? list->array() : nullptr;
  if (list && (!names || names->size() != 1 || !(*names)[0].string())) keys.fail("architectures", "must be a list of one name");
  config.architecture = names ? *(*names)[0].string() : "LlamaForCausalLM";
  if (config.model_type != "llama") keys.refuse("model_type", "is " + quote(config.model_type) + " instead of \"llama\"");
  if (config.architecture != "LlamaForCausalLM")
    keys.refuse("architectures", "is " + quote(config.architecture) + " instead of \"LlamaForCausalLM\"");
}

void refuse_variants(const Keys& keys) {
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (keys.flag(key, false)) keys.refuse(key, "is true");
  const std::string activation = keys.text("hidden_act");
  if (!activation.empty() && activation != "silu") keys.refuse("hidden_act", "is " + quote(activation) + " instead of \"silu\"");
  if (keys.find("quantization_config")) keys.refuse("quantization_config", "is present");
  if (keys.positive("partial_rotary_factor", 1, 1e9) != 1) keys.refuse("partial_rotary_factor", "is not 1");
}

// transformers 4 writes rope_theta and rope_scaling side by side, transformers 5 one object rope_parameters.
void read_rope(const Keys& keys, const JsonValue& root, const std::string& source, ModelConfig& config) {
  config.rope_theta = keys.positive("rope_theta", 10000.0, 1e12);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!keys.find(name)) continue;
    const JsonValue& object = *root.find(name);
    if (!object.object()) keys.fail(name, "must be an object or null");
    const Keys rope(object, source, std::string(name) + ".");
    for (const char* key : {"rope_type", "type"}) {  // "type" is the older spelling
      const std::string type = rope.text(key);
      if (!type.empty() && type != "default") keys.refuse(name, "asks for RoPE scaling of type " + quote(type));
    }
    if (rope.positive("factor", 1, 1e9) != 1) keys.refuse(name, "asks for RoPE scaling");
    if (rope.positive("partial_rotary_factor", 1, 1e9) != 1) keys.refuse(name, "asks for partial rotation");
    config.rope_theta = rope.positive("rope_theta", config.rope_theta, 1e12);
  }
}

// Absent keys mean what transformers' LlamaConfig means by them: 1 and 2, where the vocabulary has them.
void read_special_tokens(const Keys& keys, const JsonValue& root, ModelConfig& config) {
  const int64_t last = config.vocab_size - 1;
  config.bos_token_id = root.find("bos_token_id") ? keys.optional("bos_token_id", -1, 0, last) : last >= 1 ? 1 : -1;
  const JsonValue* eos = keys.find("eos_token_id");
  if (!root.find("eos_token_id") && last >= 2) config.eos_token_ids = {2};
  if (!eos) return;
  const JsonArray* list = eos->array();
  if (!list) config.eos_token_ids = {keys.whole("eos_token_id", *eos, 0, last)};
  if (list)
    for (const JsonValue& id : *list) config.eos_token_ids.push_back(keys.whole("eos_token_id", id, 0, last));
}

}  // namespace

void validate_config(const ModelConfig& config, const std::string& source) {
  const auto fail = [&](const std::string& what) { throw Error(ErrorCode::invalid_file, source + ": " + what + "."); };
  const auto range = [&](const char* name, int64_t value, int64_t high) {
    if (value < 1 || value > high)
      fail(std::string(name) + " is " + std::to_string(value) + " but must be from 1 to " + std::to_string(high));
  };
  range("the vocabulary size", config.vocab_size, ConfigLimits::vocab);
  range("the hidden size", config.hidden_size, ConfigLimits::hidden);
  range("the intermediate size", config.intermediate_size, ConfigLimits::intermediate);
  range("the number of layers", config.num_layers, ConfigLimits::layers);
  range("the number of attention heads", config.num_heads, ConfigLimits::heads);
  range("the number of key-value heads", config.num_kv_heads, config.num_heads);
  range("the head size", config.head_dim, ConfigLimits::head_dim);
  range("the number of positions", config.max_position_embeddings, ConfigLimits::positions);
  if (config.num_heads % config.num_kv_heads != 0)
    fail("the number of attention heads (" + std::to_string(config.num_heads) + ") is not a multiple of the key-value heads (" +
         std::to_string(config.num_kv_heads) + ")");
  if (config.head_dim % 2 != 0) fail("the head size (" + std::to_string(config.head_dim) + ") is odd, so RoPE cannot pair its entries");
  if (config.q_size() > ConfigLimits::hidden) fail("heads × head size (" + std::to_string(config.q_size()) + ") is too large");
  if (!(config.rms_norm_eps > 0 && config.rms_norm_eps <= 1)) fail("the RMS norm epsilon must be above 0 and at most 1");
  if (!(config.rope_theta > 0 && std::isfinite(config.rope_theta))) fail("the RoPE base must be positive");
}

ModelConfig config_from_json(const std::string& json, const std::string& source) {
  const JsonValue root = parse_json(json, source);
  if (!root.object()) throw Error(ErrorCode::invalid_file, source + ": a JSON object is expected, as Hugging Face's config.json.");
  const Keys keys(root, source);
  ModelConfig config;
  check_architecture(keys, config);
  refuse_variants(keys);
  config.vocab_size = keys.required("vocab_size", 1, ConfigLimits::vocab);
  config.hidden_size = keys.required("hidden_size", 1, ConfigLimits::hidden);
  config.intermediate_size = keys.required("intermediate_size", 1, ConfigLimits::intermediate);
  config.num_layers = keys.required("num_hidden_layers", 1, ConfigLimits::layers);
  config.num_heads = keys.required("num_attention_heads", 1, ConfigLimits::heads);
  config.num_kv_heads = keys.optional("num_key_value_heads", config.num_heads, 1, config.num_heads);
  if (!keys.find("head_dim") && config.hidden_size % config.num_heads != 0)
    keys.fail("hidden_size", "is not a multiple of num_attention_heads, and head_dim is missing");
  config.head_dim = keys.optional("head_dim", config.hidden_size / config.num_heads, 1, ConfigLimits::head_dim);
  config.max_position_embeddings = keys.optional("max_position_embeddings", 2048, 1, ConfigLimits::positions);
  config.rms_norm_eps = keys.positive("rms_norm_eps", 1e-6, 1.0);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings", false);
  read_rope(keys, root, source, config);
  read_special_tokens(keys, root, config);
  validate_config(config, source);
  return config;
}

namespace {

void write_rope(JsonWriter& out, const ModelConfig& config) {
  out.key("rope_parameters"), out.begin_object();  // read by transformers 5
  out.key("rope_theta"), out.value(config.rope_theta);
  out.key("rope_type"), out.value("default");
  out.end_object();
  out.key("rope_scaling"), out.null();
  out.key("rope_theta"), out.value(config.rope_theta);  // read by transformers 4
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

}  // namespace

std::string config_to_json(const ModelConfig& config, DType dtype) {
  const char* type = dtype == DType::bfloat16 ? "bfloat16" : "float32";
  JsonWriter out;
  out.begin_object();
  out.key("architectures"), out.begin_array(), out.value(config.architecture), out.end_array();
  out.key("attention_bias"), out.value(false);
  out.key("attention_dropout"), out.value(0.0);
  write_special_tokens(out, config);
  out.key("dtype"), out.value(type);  // transformers 5's name of torch_dtype
  out.key("head_dim"), out.value(config.head_dim);
  out.key("hidden_act"), out.value("silu");
  out.key("hidden_size"), out.value(config.hidden_size);
  out.key("initializer_range"), out.value(0.02);
  out.key("intermediate_size"), out.value(config.intermediate_size);
  out.key("max_position_embeddings"), out.value(config.max_position_embeddings);
  out.key("mlp_bias"), out.value(false);
  out.key("model_type"), out.value(config.model_type);
  out.key("num_attention_heads"), out.value(config.num_heads);
  out.key("num_hidden_layers"), out.value(config.num_layers);
  out.key("num_key_value_heads"), out.value(config.num_kv_heads);
  out.key("rms_norm_eps"), out.value(config.rms_norm_eps);
  write_rope(out, config);
  out.key("tie_word_embeddings"), out.value(config.tie_word_embeddings);
  out.key("torch_dtype"), out.value(type);
  out.key("use_cache"), out.value(true);
  out.key("vocab_size"), out.value(config.vocab_size);
  out.end_object();
  return out.take() + "\n";
}

}  // namespace cream
