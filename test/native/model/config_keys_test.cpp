// Every key of config.json that transformers writes by default (scripts/golden/configs.py) is
// honoured, refused, or one that changes no number.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "check.h"
#include "golden.h"
#include "model/config.h"
#include "model/families.h"

using namespace cream;

namespace {

// New values as JSON text by path ("rope_parameters.factor"); null removes a key.
using Edits = std::map<std::string, std::optional<std::string>>;

std::string text_of(const JsonValue& value, const Edits& edits, const std::string& path = "") {
  const std::string prefix = path.empty() ? "" : path + ".";
  std::string out;
  const auto member = [&](const std::string& key, const std::string& text) {
    out += (out.empty() ? "\"" : ",\"") + key + "\":" + text;
  };
  if (value.object()) {
    for (const JsonMember& m : *value.object()) {
      const auto edit = edits.find(prefix + m.key);
      if (edit == edits.end())
        member(m.key, text_of(m.value, edits, prefix + m.key));
      else if (edit->second)
        member(m.key, *edit->second);
    }
    for (const auto& [key, text] : edits)
      if (path.empty() && text && !value.find(key) && key.find('.') == std::string::npos)
        member(key, *text);
    return "{" + out + "}";
  }
  if (value.array()) {
    for (const JsonValue& entry : *value.array())
      out += (out.empty() ? "" : ",") + text_of(entry, {}, path + "[]");
    return "[" + out + "]";
  }
  JsonWriter writer;
  double number = 0;
  if (value.boolean())
    writer.value(*value.boolean());
  else if (value.integer())
    writer.value(*value.integer());
  else if (value.string())
    writer.value(*value.string());
  else if (value.number(number))
    writer.real(number);
  else
    writer.null();
  return writer.take();
}

// The configs that transformers `version` writes, by model_type.
const JsonObject& written_by(int version) {
  static const JsonValue four = check::golden("configs/transformers-4.json"),
                         five = check::golden("configs/transformers-5.json");
  return *(version == 4 ? four : five).object();
}

const JsonValue& written(const std::string& type, int version) {
  for (const JsonMember& family : written_by(version))
    if (family.key == type) return family.value;
  throw check::Failure("there is no golden config of " + type);
}

ModelConfig read(const std::string& type, int version, const Edits& edits) {
  return config_from_json(text_of(written(type, version), edits), "FILE");
}

// The keys that change no number here. Dropout is off in training, as in TRL's DPO; the labels are
// read for classifiers alone; the generation keys are generation_config.json's.
const std::set<std::string> kInert = {"_name_or_path",
                                      "_sliding_window_pattern",
                                      "attention_dropout",
                                      "bad_words_ids",
                                      "begin_suppress_tokens",
                                      "chunk_size_feed_forward",
                                      "cross_attention_hidden_size",
                                      "decoder_start_token_id",
                                      "diversity_penalty",
                                      "do_sample",
                                      "dtype",
                                      "early_stopping",
                                      "embd_pdrop",
                                      "encoder_no_repeat_ngram_size",
                                      "exponential_decay_length_penalty",
                                      "finetuning_task",
                                      "forced_bos_token_id",
                                      "forced_eos_token_id",
                                      "id2label",
                                      "initializer_range",
                                      "is_decoder",
                                      "label2id",
                                      "length_penalty",
                                      "max_length",
                                      "min_length",
                                      "no_repeat_ngram_size",
                                      "num_beam_groups",
                                      "num_beams",
                                      "num_return_sequences",
                                      "output_attentions",
                                      "output_hidden_states",
                                      "output_scores",
                                      "prefix",
                                      "pretraining_tp",
                                      "problem_type",
                                      "remove_invalid_values",
                                      "repetition_penalty",
                                      "resid_pdrop",
                                      "return_dict",
                                      "return_dict_in_generate",
                                      "sep_token_id",
                                      "suppress_tokens",
                                      "task_specific_params",
                                      "temperature",
                                      "tf_legacy_loss",
                                      "tie_encoder_decoder",
                                      "tokenizer_class",
                                      "top_k",
                                      "top_p",
                                      "torchscript",
                                      "transformers_version",
                                      "typical_p",
                                      "use_bfloat16",
                                      "use_cache"};

// Keys that transformers reads only where another one is absent.
const std::map<std::string, std::string> kInsteadOf = {
    {"max_window_layers", "layer_types"}, {"no_rope_layer_interval", "no_rope_layers"}};

// Honoured keys, with values that differ from those of the golden configs: one of them must make
// another model or be refused.
const std::map<std::string, std::vector<std::string>> kHonoured = {
    {"add_cross_attention", {"true"}},
    {"architectures", {R"(["OtherForCausalLM"])"}},
    {"attention_bias", {"true"}},
    {"attention_multiplier", {"0.5"}},
    {"attn_logit_softcapping", {"7.0"}},
    {"bos_token_id", {"5"}},
    {"embedding_multiplier", {"3.0"}},
    {"eos_token_id", {"6"}},
    {"final_logit_softcapping", {"7.0"}},
    {"head_dim", {"32"}},
    {"hidden_act", {R"("relu")"}},
    {"hidden_activation", {R"("relu")"}},
    {"hidden_size", {"128"}},
    {"intermediate_size", {"80"}},
    {"is_encoder_decoder", {"true"}},
    {"layer_types",
     {R"(["sliding_attention","full_attention"])", R"(["full_attention","sliding_attention"])"}},
    {"logits_scaling", {"3.0"}},
    {"max_position_embeddings", {"256"}},
    {"max_window_layers", {"0"}},
    {"mlp_bias", {"true"}},
    {"model_type", {R"("other")"}},
    {"no_rope_layer_interval", {"1"}},
    {"no_rope_layers", {"[0,1]"}},
    {"num_attention_heads", {"8"}},
    {"num_hidden_layers", {"3"}},
    {"num_key_value_heads", {"4"}},
    {"original_max_position_embeddings", {"32"}},
    {"pad_token_id", {"7"}},
    {"partial_rotary_factor", {"0.5"}},
    {"pruned_heads", {R"({"0":[1]})"}},
    {"query_pre_attn_scalar", {"64"}},
    {"residual_multiplier", {"3.0"}},
    {"rms_norm_eps", {"0.01"}},
    {"rope_local_base_freq", {"77.0"}},
    {"rope_parameters", {R"({"rope_type":"default","rope_theta":77.0})"}},
    {"rope_scaling", {R"({"rope_type":"linear","factor":2.0})"}},
    {"rope_theta", {"77.0"}},
    {"sliding_window", {"9"}},
    {"tie_word_embeddings", {"true", "false"}},
    {"use_bidirectional_attention", {"true"}},
    {"use_sliding_window", {"true", "false"}},
    {"vocab_size", {"90"}}};

// Whether the value makes another model or is refused.
bool differs(const std::string& type, int version, const std::string& key,
             const std::string& value) {
  Edits edits;
  if (const auto instead = kInsteadOf.find(key); instead != kInsteadOf.end())
    edits[instead->second] = std::nullopt;
  try {
    const ModelConfig before = read(type, version, edits);
    edits[key] = value;
    return read(type, version, edits) != before;
  } catch (const Error&) {
    return true;
  }
}

// Changes each value inside of rope_parameters.
void walk_rope(const std::string& type, const JsonValue& object, const std::string& path) {
  for (const JsonMember& member : *object.object()) {
    const std::string at = path + "." + member.key;
    if (member.value.object()) {
      walk_rope(type, member.value, at);
      continue;
    }
    // rope_type counts before its older name, and transformers reads the other key nowhere.
    if (member.key == "type" || member.key == "max_position_embeddings") continue;
    double number = 0;
    std::string other = R"("other")";
    if (member.value.integer())
      other = std::to_string(*member.value.integer() / 2);
    else if (member.value.number(number))
      other = std::to_string(number / 2);
    if (!differs(type, 5, at, other)) throw check::Failure(type + ": " + at + " is passed over");
  }
}

}  // namespace

CHECK_CASE("config keys: what transformers writes is honoured, or changes no number") {
  for (const Family& family : families()) {
    const std::string& type = family.defaults.model_type;
    std::map<std::string, bool> counts;  // whether a key made a difference in a version
    for (const int version : {4, 5}) {
      const JsonObject& all = written_by(version);
      if (std::none_of(all.begin(), all.end(), [&](const auto& m) { return m.key == type; }))
        continue;  // a family that is newer than transformers 4
      const ModelConfig config = read(type, version, {});
      for (const JsonMember& member : *written(type, version).object()) {
        const std::string& key = member.key;
        if (kInert.contains(key)) {
          if (read(type, version, {{key, R"("other")"}}) != config)
            throw check::Failure(type + ": " + key + " is read, and listed as inert");
          continue;
        }
        if (!kHonoured.contains(key))
          throw check::Failure(type + ": " + key + " is in neither list");
        for (const std::string& value : kHonoured.at(key))
          counts[key] |= differs(type, version, key, value);
        if (key == "rope_parameters") walk_rope(type, member.value, key);
      }
    }
    CHECK(!counts.empty());
    for (const auto& [key, counted] : counts)
      // SmolLM3 has the key, and transformers does not use it there.
      if (!counted && !(type == "smollm3" && key == "max_window_layers"))
        throw check::Failure(type + ": " + key + " is passed over");
  }
}

CHECK_CASE("config keys: a key that changes numbers and that the family lacks is refused by name") {
  using Keys = std::vector<std::pair<std::string, std::string>>;  // key, JSON value
  for (const auto& [key, value] : Keys{{"attn_logit_softcapping", "50.0"},
                                       {"final_logit_softcapping", "30.0"},
                                       {"query_pre_attn_scalar", "256"},
                                       {"sliding_window", "16"},
                                       {"use_sliding_window", "true"},
                                       {"layer_types", R"(["full_attention","sliding_attention"])"},
                                       {"no_rope_layers", "[1,0]"},
                                       {"rope_local_base_freq", "10000.0"},
                                       {"clip_qkv", "8.0"},
                                       {"logit_scale", "0.0625"},
                                       {"logits_scaling", "8.0"},
                                       {"residual_multiplier", "0.22"},
                                       {"embedding_multiplier", "12.0"},
                                       {"attention_multiplier", "0.0078125"},
                                       {"num_experts", "8"},
                                       {"num_local_experts", "8"},
                                       {"n_routed_experts", "8"},
                                       {"use_qk_norm", "true"},
                                       {"qk_layernorm", "true"},
                                       {"alibi", "true"},
                                       {"parallel_attn", "true"},
                                       {"attention_chunk_size", "8192"},
                                       {"partial_rotary_factor", "0.5"},
                                       {"rotary_pct", "0.25"},
                                       {"scale_emb", "12"},
                                       {"softmax_scale", "2.0"},
                                       {"attn_output_gate", "true"},
                                       {"swiglu_limit", "7.0"},
                                       {"quantization_config", R"({"bits":4})"}})
    CHECK_THROWS(unsupported, "FILE: " + key + " ", read("llama", 5, {{key, value}}));
  for (const char* type : {"mistral", "phi3", "gemma2"})
    CHECK_THROWS(unsupported, "FILE: mlp_bias is true", read(type, 5, {{"mlp_bias", "true"}}));
  for (const char* type : {"mistral", "phi3"})
    CHECK_THROWS(unsupported, "FILE: attention_bias is true",
                 read(type, 5, {{"attention_bias", "true"}}));
  CHECK_THROWS(unsupported, "layer_types has \"full_attention\" in a phi3 model",
               read("phi3", 5, {{"layer_types", R"(["full_attention","sliding_attention"])"}}));
  CHECK_THROWS(unsupported, "rope_parameters.mrope_section is set",
               read("llama", 5,
                    {{"rope_parameters",
                      R"({"rope_type":"default","rope_theta":1e4,"mrope_section":[1,1]})"}}));
  CHECK_THROWS(invalid_file, "rope_scaling.factor is set, and rope_type",
               read("llama", 4, {{"rope_scaling", R"({"factor":2.0})"}}));
  // transformers 5 reads RoPE by kind of layer under the older name as well.
  const std::string kinds =
      R"({"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":1e6},)"
      R"("sliding_attention":{"rope_type":"default","rope_theta":2e4}})";
  const ModelConfig by_kind = read("gemma3_text", 5, {{"rope_parameters", kinds}});
  CHECK(by_kind.rope.factor == 8 && by_kind.local_rope->theta == 2e4);
  CHECK(read("gemma3_text", 5, {{"rope_parameters", "null"}, {"rope_scaling", kinds}}) == by_kind);
  // Neutral values, which transformers writes as well.
  const ModelConfig plain = read("llama", 5, {});
  for (const auto& [key, value] : Keys{{"logit_scale", "1.0"},
                                       {"residual_multiplier", "1"},
                                       {"clip_qkv", "null"},
                                       {"num_experts", "0"},
                                       {"sliding_window", "null"},
                                       {"sliding_window", "4096"},  // longer than the context
                                       {"use_sliding_window", "false"},
                                       {"layer_types", R"(["full_attention","full_attention"])"}})
    CHECK(read("llama", 5, {{key, value}}) == plain);
}

CHECK_CASE(
    "config keys: mistral's layer_types, YaRN's context and pad_token_id are read and written") {
  const auto again = [](const ModelConfig& config) {
    const ModelConfig second = config_from_json(config_to_json(config, DType::float32), "again");
    CHECK(second == config);
    return second;
  };
  const auto mistral = [&](const std::string& types) {
    return again(read("mistral", 5, {{"layer_types", types}}));
  };
  const ModelConfig mixed = mistral(R"(["full_attention","sliding_attention"])");
  CHECK(!mixed.layer(0).sliding && mixed.layer(1).sliding && mixed.sliding_window == 16);
  const ModelConfig full = mistral(R"(["full_attention","full_attention"])");
  CHECK(full.layers.empty() && full.sliding_window == 0);
  const ModelConfig sliding = mistral(R"(["sliding_attention","sliding_attention"])");
  CHECK(sliding.layer(0).sliding && sliding.layer(1).sliding);

  const auto yarn = [&](const std::string& more) {
    return again(
        read("qwen2", 4, {{"rope_scaling", R"({"type":"yarn","factor":4.0)" + more + "}"}}));
  };
  CHECK(yarn(R"(,"original_max_position_embeddings":128)").context() == 512);
  CHECK(yarn("").context() == 512);
  CHECK(yarn(R"(,"original_max_position_embeddings":32)").context() == 128);
  CHECK(yarn(R"(,"original_max_position_embeddings":1000000)").context() ==
        ConfigLimits::positions);

  const auto pad = [&](const std::string& type, const std::string& value) {
    return again(read(type, 5, {{"pad_token_id", value}})).pad_token_id;
  };
  CHECK(pad("llama", "2") == 2 && pad("gemma2", "null") == -1 && pad("phi3", "69") == 69);
  CHECK(pad("llama", "-1") == 69 && pad("llama", "70") == -1);  // as torch counts
}
