// config.json, as transformers 4 and 5 write it, → ModelConfig. Absent keys mean the family's
// defaults; a key that changes the numbers is honoured or refused by name (config_variants.cpp).
#include <algorithm>
#include <initializer_list>

#include "model/config.h"
#include "model/config_keys.h"
#include "model/families.h"

namespace cream {

namespace {

bool one_of(const std::string& text, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return text == name; });
}

// "LlamaForSequenceClassification": a reward model or another classifier of whole sequences.
bool classifies(const std::string& architecture, const Family& family) {
  const std::string& causal = family.defaults.architecture;
  return family.classifies &&
         architecture == causal.substr(0, causal.find("ForCausalLM")) + "ForSequenceClassification";
}

// transformers writes id2label instead of num_labels, and writes neither if there are two labels.
int64_t number_of_labels(const ConfigKeys& keys) {
  const JsonValue* labels = keys.find("id2label");
  if (!labels) return keys.optional("num_labels", 2, 1, ConfigLimits::labels);
  if (!labels->object() || labels->object()->empty() ||
      labels->object()->size() > ConfigLimits::labels)
    keys.fail("id2label", "must be an object with one entry per label");
  return static_cast<int64_t>(labels->object()->size());
}

const Family& read_family(const ConfigKeys& keys) {
  const std::string model_type = keys.text("model_type");
  if (const Family* family = find_family(model_type)) return *family;
  keys.refuse("model_type", "is " + quote(model_type),
              "Use a model of one of these families: " + known_families());
}

ModelConfig read_architecture(const ConfigKeys& keys, const Family& family) {
  ModelConfig config = family.defaults;
  const JsonValue* list = keys.find("architectures");
  const JsonArray* names = list ? list->array() : nullptr;
  if (list && (!names || names->size() != 1 || !(*names)[0].string()))
    keys.fail("architectures", "must be a list of one name");
  if (names && classifies(*(*names)[0].string(), family)) {
    config.architecture = *(*names)[0].string();
    config.num_labels = number_of_labels(keys);
  } else if (names && *(*names)[0].string() != config.architecture) {
    keys.refuse("architectures",
                "is " + quote(*(*names)[0].string()) + " instead of " + quote(config.architecture));
  }
  return config;
}

void read_sizes(const ConfigKeys& keys, ModelConfig& config) {
  config.vocab_size = keys.required("vocab_size", 1, ConfigLimits::vocab);
  config.hidden_size = keys.required("hidden_size", 1, ConfigLimits::hidden);
  config.intermediate_size = keys.required("intermediate_size", 1, ConfigLimits::intermediate);
  config.num_layers = keys.required("num_hidden_layers", 1, ConfigLimits::layers);
  config.num_heads = keys.required("num_attention_heads", 1, ConfigLimits::heads);
  // null means num_attention_heads; an absent key means the family's number, which may exceed the
  // heads of a small config.
  const bool family_says = config.num_kv_heads > 0 && !keys.has("num_key_value_heads");
  config.num_kv_heads =
      family_says ? std::min(config.num_kv_heads, config.num_heads)
                  : keys.optional("num_key_value_heads", config.num_heads, 1, config.num_heads);
  if (!keys.find("head_dim") && config.head_dim == 0 && config.hidden_size % config.num_heads != 0)
    keys.fail("hidden_size", "is not a multiple of num_attention_heads, and head_dim is missing");
  const int64_t head_dim =
      config.head_dim > 0 ? config.head_dim : config.hidden_size / config.num_heads;
  config.head_dim = keys.optional("head_dim", head_dim, 1, ConfigLimits::head_dim);
  config.max_position_embeddings = keys.optional(
      "max_position_embeddings", config.max_position_embeddings, 1, ConfigLimits::positions);
  config.rms_norm_eps = keys.positive("rms_norm_eps", config.rms_norm_eps, 1.0);
  // A classifier's head is never tied, whatever the file says.
  config.tie_word_embeddings =
      keys.flag("tie_word_embeddings", config.tie_word_embeddings) && config.num_labels == 0;
}

void read_biases(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  const auto on = [&](const char* key) {
    const bool set = keys.flag(key, false);
    if (set && !family.has(key)) keys.refuse(key, "is true in a " + config.model_type + " model");
    return set;
  };
  // Qwen2 has biases on q, k and v alone, and transformers does not read the key.
  if (!config.qkv_bias) config.qkv_bias = config.output_bias = on("attention_bias");
  config.mlp_bias = on("mlp_bias");
}

void read_activation(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  const char* key = family.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string name = keys.text(key);
  if (name == "silu")
    config.activation = Activation::silu;
  else if (name == "gelu_pytorch_tanh")
    config.activation = Activation::gelu_tanh;
  else if (!name.empty())
    keys.refuse(key, "is " + quote(name) + " instead of \"silu\" or \"gelu_pytorch_tanh\"");
}

// null switches a cap off; an absent key means the family's cap.
void read_softcaps(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  const auto cap = [&](const char* key, double& value) {
    if (family.has(key) && keys.has(key)) value = keys.positive(key, 0, 1e9);
  };
  cap("attn_logit_softcapping", config.attention_softcap);
  cap("final_logit_softcapping", config.final_softcap);
  if (family.has("query_pre_attn_scalar"))
    config.query_pre_attn_scalar =
        static_cast<double>(keys.optional("query_pre_attn_scalar", 256, 1, 1 << 20));
}

void read_multipliers(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  const auto factor = [&](const char* key, double& value) {
    if (family.has(key)) value = keys.positive(key, value, 1e9);
  };
  factor("attention_multiplier", config.attention_multiplier);
  factor("embedding_multiplier", config.embedding_multiplier);
  factor("residual_multiplier", config.residual_multiplier);
  factor("logits_scaling", config.logits_scaling);
}

void read_window(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  if (!family.has("sliding_window")) return;
  if (family.has("use_sliding_window") && !keys.flag("use_sliding_window", false)) {
    config.sliding_window = 0;
    return;
  }
  if (keys.has("sliding_window"))
    config.sliding_window = keys.optional("sliding_window", 0, 1, int64_t{1} << 40);
}

// The family's rule where config.json lists no layer types.
bool slides_by_default(const ConfigKeys& keys, const Family& family, const ModelConfig& config,
                       int64_t index, bool rope) {
  const bool window = config.sliding_window > 0;
  switch (family.pattern.kind) {
    case LayerPattern::none:
      return false;
    case LayerPattern::all:
      return window;
    case LayerPattern::all_but_every: {
      const int64_t period = family.pattern.period;
      return (index + 1) %
                 (family.has("sliding_window_pattern")
                      ? keys.optional("sliding_window_pattern", period, 1, ConfigLimits::layers)
                      : period) !=
             0;
    }
    case LayerPattern::from_max_window:
      return window && index >= keys.optional("max_window_layers", 28, 0, ConfigLimits::layers);
    case LayerPattern::without_rope:
      return window && !rope;
  }
  return false;
}

bool slides(const ConfigKeys& keys, const JsonValue& type) {
  if (!type.string()) keys.fail("layer_types", "must be a list of strings");
  if (!one_of(*type.string(), {"full_attention", "sliding_attention"}))
    keys.refuse("layer_types", "has " + quote(*type.string()));
  return *type.string() == "sliding_attention";
}

void read_layers(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  read_window(keys, family, config);
  const JsonArray& types = keys.list("layer_types");
  if (!types.empty() && static_cast<int64_t>(types.size()) != config.num_layers)
    keys.fail("layer_types", "must have one entry for each of the " +
                                 std::to_string(config.num_layers) + " layers");
  // Without the key, transformers takes one kind of layer for all.
  const bool listed = !types.empty() && family.has("layer_types");
  const bool some_without_rope = family.has("no_rope_layers");
  const JsonArray& with_rope = keys.list("no_rope_layers");  // 0 marks a layer without RoPE
  if (some_without_rope && !with_rope.empty() &&
      static_cast<int64_t>(with_rope.size()) < config.num_layers)
    keys.fail("no_rope_layers", "must have one entry for each of the " +
                                    std::to_string(config.num_layers) + " layers");
  const int64_t interval = keys.optional("no_rope_layer_interval", 4, 1, ConfigLimits::layers);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerKind kind;
    if (some_without_rope)
      kind.rope = with_rope.empty()
                      ? (i + 1) % interval != 0
                      : keys.whole("no_rope_layers", with_rope[static_cast<size_t>(i)], 0, 1) != 0;
    kind.sliding = listed ? slides(keys, types[static_cast<size_t>(i)])
                          : slides_by_default(keys, family, config, i, kind.rope);
    if (!types.empty() && slides(keys, types[static_cast<size_t>(i)]) != kind.sliding)
      keys.refuse("layer_types", "has " + quote(*types[static_cast<size_t>(i)].string()) +
                                     " in a " + config.model_type + " model");
    config.layers.push_back(kind);
  }
  const auto sliding = [](const LayerKind& kind) { return kind.sliding; };
  if (std::none_of(config.layers.begin(), config.layers.end(), sliding))
    config.sliding_window = 0;  // the window alone would make every layer slide when read again
  if (std::all_of(config.layers.begin(), config.layers.end(),
                  [](const LayerKind& kind) { return kind == LayerKind{}; }))
    config.layers.clear();
}

// The RoPE keys of one kind of layer. `rope` already holds the values from outside the object.
void read_scaling(const ConfigKeys& keys, const Family& family, RopeConfig& rope) {
  const char* type_key = keys.find("rope_type") ? "rope_type" : "type";  // the older spelling
  const std::string type = keys.text(type_key);
  refuse_unknown_scaling(keys, family);
  rope.type = type.empty() ? "default" : type;
  const bool phi3 = family.has("original_max_position_embeddings");
  if (phi3 && one_of(type, {"su", "yarn"})) rope.type = "longrope";  // older names
  if (!one_of(rope.type, {"default", "linear", "dynamic", "llama3", "yarn", "longrope"}))
    keys.refuse(type_key, "is " + quote(rope.type),
                "It knows default, linear, dynamic, llama3, yarn and longrope");
  rope.theta = keys.positive("rope_theta", rope.theta, 1e12);
  rope.partial_rotary_factor =
      keys.positive("partial_rotary_factor", rope.partial_rotary_factor, 1.0);
  rope.factor = keys.positive("factor", 0, 1e9);
  if (type.empty() && rope.factor > 0)
    keys.fail("factor", "is set, and rope_type, which says what it scales, is missing");
  rope.attention_factor = keys.positive("attention_factor", 0, 1e9);
  // transformers reads Phi-3's number from outside the object.
  if (!phi3)
    rope.original_max_position_embeddings =
        keys.optional("original_max_position_embeddings", rope.original_max_position_embeddings, 1,
                      ConfigLimits::positions);
  rope.low_freq_factor = keys.positive("low_freq_factor", 0, 1e9);
  rope.high_freq_factor = keys.positive("high_freq_factor", 0, 1e9);
  rope.beta_fast = keys.positive("beta_fast", 0, 1e9);
  rope.beta_slow = keys.positive("beta_slow", 0, 1e9);
  rope.mscale = keys.positive("mscale", 0, 1e9);
  rope.mscale_all_dim = keys.positive("mscale_all_dim", 0, 1e9);
  rope.llama_4_scaling_beta = keys.not_negative("llama_4_scaling_beta", 0, 1e9);
  rope.truncate = keys.flag("truncate", true);
  rope.short_factor = keys.positive_list("short_factor");
  rope.long_factor = keys.positive_list("long_factor");

  const auto need = [&](const char* key, double value) {
    if (!(value > 0)) keys.fail(key, "is missing, and " + rope.type + " scaling needs it");
  };
  if (one_of(rope.type, {"linear", "dynamic", "llama3"})) need("factor", rope.factor);
  if (rope.type == "llama3")
    need("low_freq_factor", rope.low_freq_factor), need("high_freq_factor", rope.high_freq_factor);
  if (rope.llama_4_scaling_beta > 0 && rope.type != "yarn")
    keys.refuse("llama_4_scaling_beta", "is set with " + rope.type + " scaling");
  if (rope.type == "llama3" && rope.low_freq_factor == rope.high_freq_factor)
    keys.fail("high_freq_factor", "must differ from low_freq_factor");
}

// One object per kind of layer.
void read_rope_by_kind(const ConfigKeys& both, const Family& family, ModelConfig& config) {
  for (const JsonMember& member : both.members()) {
    const char* kind = member.key.c_str();
    const bool full = member.key == "full_attention";
    if (is_empty(member.value)) continue;
    if (!full && member.key != "sliding_attention")
      both.refuse(kind, "stands beside full_attention and sliding_attention");
    if (!config.local_rope) both.refuse(kind, "is present in a " + config.model_type + " model");
    read_scaling(both.inner(kind), family, full ? config.rope : *config.local_rope);
  }
}

// transformers 4 writes rope_theta and rope_scaling side by side; transformers 5 writes one object
// rope_parameters. Gemma 3 and OLMo 3 have one such object per kind of layer, and in version 4
// Gemma 3 has rope_local_base_freq.
void read_rope(const ConfigKeys& keys, const Family& family, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  rope.theta = keys.positive("rope_theta", rope.theta, 1e12);
  rope.partial_rotary_factor = keys.positive("partial_rotary_factor", 1, 1.0);
  rope.original_max_position_embeddings =
      keys.optional("original_max_position_embeddings", rope.original_max_position_embeddings, 1,
                    ConfigLimits::positions);
  if (config.local_rope)
    config.local_rope->theta =
        family.has("rope_local_base_freq")
            ? keys.positive("rope_local_base_freq", config.local_rope->theta, 1e12)
            : rope.theta;

  const bool older = keys.find("rope_scaling") && !keys.inner("rope_scaling").empty();
  const char* name = older ? "rope_scaling" : "rope_parameters";
  if (keys.find(name)) {
    const ConfigKeys given = keys.inner(name);
    if (given.find("full_attention") || given.find("sliding_attention"))
      read_rope_by_kind(given, family, config);
    else
      read_scaling(given, family, rope);
  }

  if (rope.partial_rotary_factor != 1 && !family.has("partial_rotary_factor"))
    keys.refuse("partial_rotary_factor", "is not 1 in a " + config.model_type + " model");
  for (RopeConfig* kind : {&rope, config.local_rope ? &*config.local_rope : nullptr}) {
    if (!kind || family.has("original_max_position_embeddings")) continue;
    int64_t& original = kind->original_max_position_embeddings;
    if (!one_of(kind->type, {"llama3", "yarn", "longrope"}))
      original = 0;
    else if (original == 0)
      original = config.max_position_embeddings;
  }
}

// Absent keys mean the family's ids, unless these exceed the vocabulary.
void read_special_tokens(const ConfigKeys& keys, ModelConfig& config) {
  const int64_t last = config.vocab_size - 1;
  if (config.bos_token_id > last) config.bos_token_id = -1;
  std::erase_if(config.eos_token_ids, [&](int64_t id) { return id > last; });
  if (keys.has("bos_token_id")) config.bos_token_id = keys.optional("bos_token_id", -1, 0, last);
  if (config.pad_token_id > last) config.pad_token_id = -1;
  if (keys.has("pad_token_id")) {
    const int64_t pad = keys.optional("pad_token_id", -1 - config.vocab_size, INT64_MIN, INT64_MAX);
    // torch counts a negative padding_idx from the end. Ids beyond the vocabulary refer to no row.
    config.pad_token_id = pad > last || pad < -config.vocab_size ? -1
                          : pad < 0                              ? pad + config.vocab_size
                                                                 : pad;
  }
  if (!keys.has("eos_token_id")) return;
  config.eos_token_ids.clear();
  const JsonValue* eos = keys.find("eos_token_id");
  if (!eos) return;
  if (!eos->array())
    config.eos_token_ids = {keys.whole("eos_token_id", *eos, 0, last)};
  else
    for (const JsonValue& id : *eos->array())
      config.eos_token_ids.push_back(keys.whole("eos_token_id", id, 0, last));
}

// text_config of a multimodal checkpoint, with the values that transformers takes from outside it.
JsonValue text_config(const ConfigKeys& keys, const Multimodal& kind) {
  if (!keys.find("text_config")) keys.fail("text_config", "is missing");
  const JsonValue tied(true), text_type{std::string(kind.text)};
  JsonObject text = keys.inner("text_config").members();
  const auto add = [&](const char* key, const JsonValue* value) {
    const bool there = std::any_of(text.begin(), text.end(), [&](const JsonMember& member) {
      return member.key == key && !member.value.is_null();
    });
    if (there || !value) return;
    std::erase_if(text, [&](const JsonMember& member) { return member.key == key; });
    text.push_back({key, *value});
  };
  if (keys.find("tie_word_embeddings"))
    std::erase_if(text, [](const JsonMember& m) { return m.key == "tie_word_embeddings"; });
  for (const char* key :
       {"bos_token_id", "eos_token_id", "tie_word_embeddings", "quantization_config"})
    add(key, keys.find(key));
  add("tie_word_embeddings", &tied);
  add("model_type", &text_type);
  return JsonValue(std::move(text));
}

ModelConfig read_config(const ConfigKeys& keys, const std::string& source) {
  const Family& family = read_family(keys);
  ModelConfig config = read_architecture(keys, family);
  refuse_variants(keys, family);
  read_sizes(keys, config);
  read_biases(keys, family, config);
  read_activation(keys, family, config);
  read_softcaps(keys, family, config);
  read_multipliers(keys, family, config);
  read_layers(keys, family, config);
  read_rope(keys, family, config);
  read_special_tokens(keys, config);
  validate_config(config, source);
  return config;
}

}  // namespace

ModelConfig config_from_json(const std::string& json, const std::string& source) {
  const JsonValue root = parse_json(json, source, JsonNumbers::python);
  if (!root.object())
    throw Error(ErrorCode::invalid_file,
                source + ": a JSON object is expected, as Hugging Face's config.json.");
  const ConfigKeys keys(root, source);
  const Multimodal* multimodal = find_multimodal(keys.text("model_type"));
  if (!multimodal) return read_config(keys, source);
  const JsonValue text = text_config(keys, *multimodal);
  return read_config(ConfigKeys(text, source, "text_config."), source);
}

}  // namespace cream
