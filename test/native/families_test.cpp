// Every model family against transformers (scripts/golden/families.py), below the engine:
// config.json, gradients, both dtypes.
#include <algorithm>
#include <filesystem>
#include <map>

#include "check.h"
#include "fast_ops.h"
#include "generate/generator.h"
#include "golden.h"
#include "model/families.h"
#include "model/parameters.h"
#include "ops/dispatch.h"
#include "score/scorer.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "weights/load.h"

using namespace cream;

namespace {

constexpr const char* kFamilies[] = {
    "llama-linear",   "llama-dynamic", "llama-3.2", "llama-yarn", "mistral",
    "mistral-yarn",   "mistral-mixed", "qwen2",     "qwen3",      "smollm3",
    "smollm3-window", "gemma2",        "gemma3",    "phi3",       "phi4-mini",
    "olmo2",          "olmo3",         "granite",   "ministral",  "ministral3",
    "gemma3-vision"};

std::string folder_of(const std::string& family) {
  const char* golden = std::getenv("CREAM_GOLDEN_DIR");
  return std::string(golden != nullptr ? golden : "test/golden") + "/families/" + family;
}

Transformer load(const std::string& family, at::ScalarType dtype) {
  LoadedWeights loaded = load_weights(folder_of(family), dtype);
  Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
  return Transformer(std::move(loaded.config), std::move(weights));
}

Tokens tokens_of(const JsonValue& expected, const char* key) {
  Tokens tokens;
  for (const double value : check::numbers(check::array(expected, key)))
    tokens.push_back(static_cast<TokenId>(value));
  return tokens;
}

// The direction on which scripts/golden/families.py projects gradients.
double on_wave(const Tensor& flat) {
  return at::dot(flat, at::cos(at::arange(flat.numel(), at::kDouble) * 0.7)).item<double>();
}

// Compares one Hugging Face parameter, flat in double, with its golden norm, projection and
// entries.
void check_gradient(const std::string& what, const Tensor& flat, const JsonValue& expected) {
  const double norm = check::number(expected, "norm"), allowed = 1e-3 * norm + 1e-6;
  const auto close = [&](const char* of, double actual, double wanted) {
    if (!(std::abs(actual - wanted) <= allowed)) {
      std::ostringstream out;
      out << what << ": " << of << " is " << actual << ", transformers' " << wanted << " (norm "
          << norm << ")";
      throw check::Failure(out.str());
    }
  };
  close("the norm", flat.norm().item<double>(), norm);
  close("the projection", on_wave(flat), check::number(expected, "projection"));
  const auto entries = check::numbers(check::array(expected, "entries"));
  const auto step = static_cast<int64_t>(check::number(expected, "step"));
  for (size_t i = 0; i < entries.size(); ++i)
    close("an entry", flat[static_cast<int64_t>(i) * step].item<double>(), entries[i]);
}

void check_gradients(const std::string& family, bool checkpointing) {
  const JsonValue expected = check::golden("families/" + family + "/expected.json");
  Transformer model = load(family, at::kFloat);
  TrainerParams params;
  params.beta = check::number(expected, "beta");
  params.optimizer.learning_rate = 1e-6;
  params.optimizer.max_grad_norm = 0;
  params.activation_checkpointing = checkpointing;
  const auto reference = check::numbers(check::array(expected, "reference"));
  PreferencePair pair;
  pair.prompt = tokens_of(expected, "prompt");
  pair.chosen = tokens_of(expected, "chosen");
  pair.rejected = tokens_of(expected, "rejected");
  pair.reference_chosen = reference[0];
  pair.reference_rejected = reference[1];
  pair.weight = check::number(expected, "consistency");
  Trainer trainer(model, params, {});
  const double loss = trainer.preference_step({pair}, Cancel()).loss;
  CHECK(std::abs(loss - check::number(expected, "loss")) <= 1e-4);
  for (const Parameter& parameter : parameter_layout(model.config())) {
    // After one step from zero moments m = (1 − β1)·g.
    const Tensor gradient =
        trainer.optimizer().entry(parameter.name).m.to(at::kDouble) / (1 - params.optimizer.beta1);
    int64_t row = 0;
    for (const Part& part : parameter.parts) {
      const JsonValue* golden = expected.find("gradients")->find(part.huggingface);
      CHECK(golden != nullptr);
      check_gradient(family + " " + part.huggingface,
                     gradient.narrow(0, row, part.shape[0]).flatten(), *golden);
      row += part.shape[0];
    }
  }
}

GenerationRequest samples_of(const Tokens& prompt, int64_t samples, int64_t length) {
  GenerationRequest request;
  request.prompts.push_back(
      {.tokens = prompt, .key = 7, .samples = static_cast<uint32_t>(samples)});
  request.sampling.max_new_tokens = length;
  return request;
}

using Keys = std::vector<std::pair<std::string, std::string>>;  // key, JSON value

std::string json_of(const Keys& keys, const std::string& changed = "",
                    const std::string& value = "") {
  std::string out;
  for (const auto& [key, text] : keys)
    out += (out.empty() ? "{\"" : ",\"") + key + "\":" + (key == changed ? value : text);
  return out + "}";
}

// The keys of config.json that change no number here. Dropout is off in training, as in TRL's
// DPO; the labels are read for classifiers alone; the generation keys are generation_config.json's.
const Keys kInert = {{"_name_or_path", R"("")"},
                     {"attention_dropout", "0.0"},
                     {"chunk_size_feed_forward", "0"},
                     {"cross_attention_hidden_size", "null"},
                     {"decoder_start_token_id", "null"},
                     {"dtype", R"("float32")"},
                     {"finetuning_task", "null"},
                     {"id2label", R"({"0":"LABEL_0","1":"LABEL_1"})"},
                     {"initializer_range", "0.02"},
                     {"is_decoder", "false"},
                     {"label2id", R"({"LABEL_0":0,"LABEL_1":1})"},
                     {"output_attentions", "false"},
                     {"output_hidden_states", "false"},
                     {"prefix", "null"},
                     {"problem_type", "null"},
                     {"return_dict", "true"},
                     {"sep_token_id", "null"},
                     {"task_specific_params", "null"},
                     {"tie_encoder_decoder", "false"},
                     {"tokenizer_class", "null"},
                     {"torch_dtype", R"("float32")"},
                     {"torchscript", "false"},
                     {"transformers_version", R"("5.0.0")"},
                     {"use_cache", "true"},
                     // of single families
                     {"_sliding_window_pattern", "6"},  // layer_types counts, in transformers too
                     {"embd_pdrop", "0.0"},
                     {"pretraining_tp", "1"},
                     {"resid_pdrop", "0.0"}};

// Honoured keys, with values that differ from those of family_keys: one of them must make another
// model or be refused.
const std::map<std::string, std::vector<std::string>> kHonoured = {
    {"add_cross_attention", {"true"}},
    {"architectures", {R"(["OtherForCausalLM"])"}},
    {"attention_bias", {"true"}},
    {"attn_logit_softcapping", {"7.0"}},
    {"bos_token_id", {"5"}},
    {"eos_token_id", {"6"}},
    {"final_logit_softcapping", {"7.0"}},
    {"head_dim", {"32"}},
    {"hidden_act", {R"("relu")"}},
    {"hidden_activation", {R"("relu")"}},
    {"hidden_size", {"128"}},
    {"intermediate_size", {"80"}},
    {"is_encoder_decoder", {"true"}},
    {"layer_types", {R"(["sliding_attention","full_attention"])"}},
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
    {"query_pre_attn_scalar", {"64"}},
    {"rms_norm_eps", {"0.01"}},
    {"rope_local_base_freq", {"77.0"}},
    {"rope_parameters", {R"({"rope_type":"default","rope_theta":77.0})"}},
    {"rope_scaling", {R"({"rope_type":"linear","factor":2.0})"}},
    {"rope_theta", {"77.0"}},
    {"sliding_window", {"9"}},
    {"sliding_window_pattern", {"1"}},
    {"tie_word_embeddings", {"true", "false"}},
    {"use_bidirectional_attention", {"true"}},
    {"use_sliding_window", {"true", "false"}},
    {"vocab_size", {"90"}}};

// The keys that transformers `version` writes by default for a small model of a family.
Keys family_keys(const std::string& type, int version) {
  const ModelConfig& family = find_family(type)->defaults;
  const bool five = version == 5, gemma = type.starts_with("gemma"), gemma3 = type == "gemma3_text",
             qwen = type.starts_with("qwen"), smol = type == "smollm3", phi = type == "phi3";
  Keys keys = {
      {"model_type", "\"" + type + "\""},
      {"architectures", "[\"" + family.architecture + "\"]"},
      {"vocab_size", "70"},
      {"hidden_size", "64"},
      {"intermediate_size", "96"},
      {"num_hidden_layers", "2"},
      {"num_attention_heads", "4"},
      {"num_key_value_heads", "2"},
      {"max_position_embeddings", "128"},
      {"rms_norm_eps", "1e-06"},
      {"tie_word_embeddings", gemma || smol ? "true" : "false"},
      {"bos_token_id", "1"},
      {"eos_token_id", "2"},
      {"pad_token_id", "null"},
      {"is_encoder_decoder", "false"},
      {"add_cross_attention", "false"},
      {gemma ? "hidden_activation" : "hidden_act", gemma ? R"("gelu_pytorch_tanh")" : R"("silu")"}};
  keys.insert(keys.end(), kInert.begin(), kInert.end() - 4);
  const auto add = [&](const char* key, const char* value) { keys.emplace_back(key, value); };
  if (!phi) add("head_dim", "16");
  if (five && gemma3)
    add("rope_parameters", R"({"full_attention":{"rope_type":"default","rope_theta":1000000.0},)"
                           R"("sliding_attention":{"rope_type":"default","rope_theta":10000.0}})");
  else if (five)
    add("rope_parameters", R"({"rope_type":"default","rope_theta":10000.0})");
  else
    add("rope_theta", "10000.0"), add("rope_scaling", "null");
  if (type == "llama" || smol) add("pretraining_tp", "1"), add("mlp_bias", "false");
  if (type == "llama" || smol || gemma || type == "qwen3") add("attention_bias", "false");
  if (type != "llama") add("sliding_window", "16");
  if (qwen || smol) add("use_sliding_window", "true"), add("max_window_layers", "1");
  if (five && (qwen || smol || gemma))
    add("layer_types", R"(["full_attention","sliding_attention"])");
  if (smol) add("no_rope_layer_interval", "4");
  if (smol && five) add("no_rope_layers", "[1,1]");
  if (gemma) {
    add("query_pre_attn_scalar", "256");
    add("attn_logit_softcapping", gemma3 ? "null" : "50.0");
    add("final_logit_softcapping", gemma3 ? "null" : "30.0");
    add("use_bidirectional_attention", "false");
  }
  if (gemma3 && five) add("_sliding_window_pattern", "6");
  if (gemma3 && !five) add("sliding_window_pattern", "6"), add("rope_local_base_freq", "10000.0");
  if (phi) add("resid_pdrop", "0.0"), add("embd_pdrop", "0.0");
  if (phi) add("original_max_position_embeddings", "64");
  if (phi && !five) add("partial_rotary_factor", "1.0");
  return keys;
}

bool is_inert(const std::string& key) {
  return std::any_of(kInert.begin(), kInert.end(),
                     [&](const auto& inert) { return inert.first == key; });
}

}  // namespace

CHECK_CASE("families: every key that transformers writes is honoured, or changes no number") {
  for (const char* type :
       {"llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "phi3"}) {
    std::map<std::string, bool> counts;  // whether a key made a difference in a version
    for (const int version : {4, 5}) {
      const Keys keys = family_keys(type, version);
      const ModelConfig config = config_from_json(json_of(keys), type);
      for (const auto& [key, text] : keys) {
        if (is_inert(key)) {
          if (config_from_json(json_of(keys, key, R"("other")"), type) != config)
            throw check::Failure(std::string(type) + ": " + key + " is read, and listed as inert");
          continue;
        }
        if (!kHonoured.contains(key))
          throw check::Failure(std::string(type) + ": " + key + " is in neither list");
        bool& differs = counts[key];
        for (const std::string& value : kHonoured.at(key)) {
          try {
            differs |= config_from_json(json_of(keys, key, value), type) != config;
          } catch (const Error&) {
            differs = true;
          }
        }
      }
    }
    for (const auto& [key, differs] : counts)
      // SmolLM3 has the key, and transformers does not use it there.
      if (!differs && !(std::string(type) == "smollm3" && key == "max_window_layers"))
        throw check::Failure(std::string(type) + ": " + key + " is passed over");
  }
}

CHECK_CASE("families: a key that changes numbers and that the family lacks is refused by name") {
  const auto read = [](const std::string& type, const std::string& key, const std::string& value) {
    Keys keys = family_keys(type, 5);
    std::erase_if(keys, [&](const auto& entry) { return entry.first == key; });
    keys.emplace_back(key, value);
    return config_from_json(json_of(keys), "FILE");
  };
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
                                       {"quantization_config", R"({"bits":4})"}})
    CHECK_THROWS(unsupported, "FILE: " + key + " ", read("llama", key, value));
  for (const char* type : {"mistral", "phi3", "gemma2"})
    CHECK_THROWS(unsupported, "FILE: mlp_bias is true", read(type, "mlp_bias", "true"));
  for (const char* type : {"mistral", "phi3"})
    CHECK_THROWS(unsupported, "FILE: attention_bias is true", read(type, "attention_bias", "true"));
  CHECK_THROWS(unsupported, "layer_types has \"full_attention\" in a phi3 model",
               read("phi3", "layer_types", R"(["full_attention","sliding_attention"])"));
  CHECK_THROWS(unsupported, "rope_parameters.mrope_section is set",
               read("llama", "rope_parameters",
                    R"({"rope_type":"default","rope_theta":1e4,"mrope_section":[1,1]})"));
  // Neutral values, which transformers writes as well.
  const ModelConfig plain = config_from_json(json_of(family_keys("llama", 5)), "FILE");
  for (const auto& [key, value] : Keys{{"logit_scale", "1.0"},
                                       {"residual_multiplier", "1"},
                                       {"clip_qkv", "null"},
                                       {"num_experts", "0"},
                                       {"sliding_window", "null"},
                                       {"sliding_window", "4096"},  // longer than the context
                                       {"use_sliding_window", "false"},
                                       {"layer_types", R"(["full_attention","full_attention"])"}})
    CHECK(read("llama", key, value) == plain);
}

CHECK_CASE(
    "families: mistral's layer_types, YaRN's context and pad_token_id are read and written") {
  const auto again = [](const ModelConfig& config) {
    const ModelConfig read = config_from_json(config_to_json(config, DType::float32), "again");
    CHECK(read == config);
    return read;
  };
  const auto mistral = [&](const std::string& types) {
    Keys keys = family_keys("mistral", 5);
    keys.emplace_back("layer_types", types);
    return again(config_from_json(json_of(keys), "FILE"));
  };
  const ModelConfig mixed = mistral(R"(["full_attention","sliding_attention"])");
  CHECK(!mixed.layer(0).sliding && mixed.layer(1).sliding && mixed.sliding_window == 16);
  const ModelConfig full = mistral(R"(["full_attention","full_attention"])");
  CHECK(full.layers.empty() && full.sliding_window == 0);
  const ModelConfig sliding = mistral(R"(["sliding_attention","sliding_attention"])");
  CHECK(sliding.layer(0).sliding && sliding.layer(1).sliding);

  const auto yarn = [&](const std::string& more) {
    Keys keys = family_keys("qwen2", 4);
    return again(config_from_json(
        json_of(keys, "rope_scaling", R"({"type":"yarn","factor":4.0)" + more + "}"), "FILE"));
  };
  CHECK(yarn(R"(,"original_max_position_embeddings":128)").context() == 512);
  CHECK(yarn("").context() == 512);
  CHECK(yarn(R"(,"original_max_position_embeddings":32)").context() == 128);
  CHECK(yarn(R"(,"original_max_position_embeddings":1000000)").context() ==
        ConfigLimits::positions);

  const auto pad = [&](const std::string& type, const std::string& value) {
    return again(config_from_json(json_of(family_keys(type, 5), "pad_token_id", value), "FILE"))
        .pad_token_id;
  };
  CHECK(pad("llama", "2") == 2 && pad("gemma2", "null") == -1 && pad("phi3", "69") == 69);
  CHECK(pad("llama", "-1") == 69 && pad("llama", "70") == -1);  // as torch counts
}

CHECK_CASE("families: a padding token's row of the embedding gets no gradient, as in torch") {
  const JsonValue expected = check::golden("families/mistral/expected.json");
  PreferencePair pair;
  pair.prompt = tokens_of(expected, "prompt");
  pair.chosen = tokens_of(expected, "chosen");
  pair.rejected = tokens_of(expected, "rejected");
  const TokenId pad = pair.prompt[0];
  const auto gradient = [&](int64_t pad_token_id) {
    LoadedWeights loaded = load_weights(folder_of("mistral"), at::kFloat);
    CHECK(!loaded.config.tie_word_embeddings);
    loaded.config.pad_token_id = pad_token_id;
    Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
    Transformer model(std::move(loaded.config), std::move(weights));
    TrainerParams params;
    params.optimizer.max_grad_norm = 0;
    Trainer trainer(model, params, {});
    trainer.preference_step({pair}, Cancel());
    return trainer.optimizer().entry("embedding").m.clone();
  };
  Tensor all = gradient(-1);
  const Tensor padded = gradient(pad);
  CHECK(all[pad].abs().max().item<float>() > 0 && padded[pad].abs().max().item<float>() == 0);
  all[pad].zero_();
  CHECK(at::equal(all, padded));
}

CHECK_CASE("families: gradients of a preference step equal transformers' autograd") {
  for (const char* family : kFamilies) check_gradients(family, false);
}

CHECK_CASE("families: gradients are the same where activations are recomputed") {
  for (const char* family : {"gemma2", "gemma3", "qwen2", "phi4-mini"})
    check_gradients(family, true);
}

CHECK_CASE("families: bf16 logits of the fast kernels agree with those of the plain ops") {
  for (const char* family : kFamilies) {
    const JsonValue expected = check::golden(std::string("families/") + family + "/expected.json");
    const Transformer model = load(family, at::kBFloat16);
    const Tokens tokens =
        check::joined(tokens_of(expected, "prompt"), tokens_of(expected, "chosen"));
    const Tensor fast = sequence_logits(model, tokens);
    const Tensor exact =
        at::tensor(check::numbers(check::array(expected, "logits")), at::kFloat).view(fast.sizes());
    const ops::ForcePlain force;
    CHECK_RELATIVE(fast, sequence_logits(model, tokens), 0.02);
    CHECK_RELATIVE(fast, exact, 0.05);
  }
}

CHECK_LEVELS("families: a sampled token's log-prob is its score, bit for bit in bf16") {
  for (const char* family : kFamilies) {
    const Transformer model = load(family, at::kBFloat16);
    // Other head sizes use plain attention, whose sums depend on the batch.
    const bool exact = ops::fast_path() && model.config().head_dim % 16 == 0;
    for (const int64_t length : {3, 11, 40}) {  // prompts within and beyond the windows
      const Tokens prompt = [&] {
        Tokens tokens = check::tiny_tokens(length, 5);
        for (TokenId& token : tokens) token %= 64;
        return tokens;
      }();
      std::vector<GeneratedCompletion> completions;
      GenerationCallbacks callbacks;
      callbacks.on_completion = [&](GeneratedCompletion&& completion) {
        completions.push_back(std::move(completion));
      };
      generate(model, samples_of(prompt, 4, 20), callbacks, Cancel());
      CHECK(completions.size() == 4);
      ScoringRequest request;
      request.groups.push_back({prompt, {}});
      for (const GeneratedCompletion& completion : completions)
        request.groups[0].completions.push_back(completion.tokens);
      const ScoringResult scores = score(model, request, {}, Cancel());
      for (size_t i = 0; i < completions.size(); ++i)
        for (size_t t = 0; t < completions[i].logprobs.size(); ++t) {
          const float sampled = completions[i].logprobs[t],
                      scored = scores.token_logprobs[scores.offsets[i] + t];
          if (exact ? sampled != scored : std::abs(sampled - scored) > 0.3f) {
            std::ostringstream out;
            out << family << ": token " << t << " of sample " << i << " after " << length
                << " was sampled with " << sampled << " and scored " << scored;
            throw check::Failure(out.str());
          }
        }
    }
  }
}

CHECK_CASE("families: our config.json is read back equal, and written again in the same bytes") {
  for (const char* family : kFamilies) {
    const std::string path = folder_of(family) + "/config.json";
    const ModelConfig config = config_from_json(read_file(path, 1 << 20), path);
    const std::string written = config_to_json(config, DType::float32);
    const ModelConfig again = config_from_json(written, "again");
    CHECK(again == config);
    CHECK(config_to_json(again, DType::float32) == written);
  }
}

CHECK_CASE(
    "families: config.json of transformers 4 means what version 5's does, and absent keys mean the "
    "family's defaults") {
  const auto read = [](const std::string& type, const std::string& extra) {
    return config_from_json(R"({"model_type":")" + type +
                                R"(","vocab_size":200000,"hidden_size":64,"intermediate_size":96,)"
                                R"("num_hidden_layers":7,)"
                                R"("num_attention_heads":8)" +
                                extra + "}",
                            "FILE");
  };
  const auto same = [&](const std::string& type, const std::string& four, const std::string& five) {
    CHECK(read(type, four) == read(type, five));
  };
  same("llama",
       R"(,"rope_theta":500000.0,"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,)"
       R"("high_freq_factor":4.0,"original_max_position_embeddings":8192,)"
       R"("rope_type":"llama3"})",
       R"(,"rope_parameters":{"rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,)"
       R"("high_freq_factor":4.0,"original_max_position_embeddings":8192,)"
       R"("rope_type":"llama3"})");
  same("llama", R"(,"rope_scaling":{"type":"linear","factor":2.0})",
       R"(,"rope_parameters":{"rope_type":"linear","rope_theta":10000.0,"factor":2.0})");
  same("qwen2", R"(,"use_sliding_window":true,"sliding_window":32,"max_window_layers":5)",
       R"(,"use_sliding_window":true,"sliding_window":32,"layer_types":["full_attention",)"
       R"("full_attention","full_attention","full_attention","full_attention",)"
       R"("sliding_attention","sliding_attention"])");
  same("gemma3_text",
       R"(,"rope_theta":1000000.0,"rope_local_base_freq":20000.0,)"
       R"("rope_scaling":{"rope_type":"linear","factor":8.0},"sliding_window_pattern":3,)"
       R"("sliding_window":512)",
       R"(,"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,)"
       R"("rope_theta":1000000.0},"sliding_attention":{"rope_type":"default",)"
       R"("rope_theta":20000.0}},)"
       R"("layer_types":["sliding_attention","sliding_attention","full_attention",)"
       R"("sliding_attention","sliding_attention","full_attention","sliding_attention"],)"
       R"("sliding_window":512)");
  const std::string factors = R"("short_factor":[1,1,1],"long_factor":[2,3,4])";
  same("phi3",
       R"(,"original_max_position_embeddings":4096,"max_position_embeddings":131072,)"
       R"("partial_rotary_factor":0.75,"rope_scaling":{"type":"su",)" +
           factors + "}",
       R"(,"original_max_position_embeddings":4096,"max_position_embeddings":131072,)"
       R"("rope_parameters":{"rope_type":"longrope","rope_theta":10000.0,)"
       R"("partial_rotary_factor":0.75,)"
       R"("original_max_position_embeddings":4096,)" +
           factors + "}");

  const ModelConfig phi =
      read("phi3", R"(,"max_position_embeddings":131072,"rope_scaling":{"type":"longrope",)"
                   R"("short_factor":[1,1,1,1],"long_factor":[2,3,4,5]})");
  CHECK(phi.context() == 4096 && phi.max_position_embeddings == 131072 && phi.num_kv_heads == 8 &&
        phi.eos_token_ids == std::vector<int64_t>{32000});
  const ModelConfig mistral = read("mistral", ""),
                    unlimited = read("mistral", R"(,"sliding_window":null)");
  CHECK(mistral.sliding_window == 4096 && mistral.layer(6).sliding && mistral.num_kv_heads == 8 &&
        mistral.max_position_embeddings == 131072);
  CHECK(unlimited.sliding_window == 0 && unlimited.layers.empty());
  const ModelConfig qwen = read("qwen3", "");
  CHECK(qwen.head_dim == 128 && qwen.qk_norm == QkNorm::per_head && !qwen.qkv_bias &&
        qwen.layers.empty() && qwen.bos_token_id == -1 && qwen.eos_token_ids.empty());
  CHECK(read("qwen2", "").qkv_bias && !read("qwen2", "").output_bias &&
        read("qwen2", "").head_dim == 8);
  const ModelConfig gemma = read("gemma2", ""),
                    uncapped = read("gemma2", R"(,"final_logit_softcapping":null)");
  CHECK(gemma.head_dim == 256 && gemma.attention_softcap == 50 && gemma.final_softcap == 30 &&
        gemma.tie_word_embeddings && gemma.norm_offset == 1);
  CHECK(gemma.layer(0).sliding && !gemma.layer(1).sliding && gemma.attention_scale() == 1.0 / 16 &&
        gemma.bos_token_id == 2);
  CHECK(uncapped.final_softcap == 0 && uncapped.attention_softcap == 50);
  const ModelConfig smol = read("smollm3", "");
  CHECK(smol.rope.theta == 2e6 && smol.layer(0).rope && !smol.layer(3).rope &&
        !smol.layer(3).sliding && smol.num_kv_heads == 4 && smol.tie_word_embeddings);
}

CHECK_CASE(
    "families: beyond the length where frequencies would change, a sequence is refused and told "
    "why") {
  const Transformer phi = load("phi4-mini", at::kFloat),
                    dynamic = load("llama-dynamic", at::kFloat);
  CHECK(phi.config().max_position_embeddings == 256 && phi.config().context() == 64);
  Tokens tokens = check::tiny_tokens(65, 1);
  for (TokenId& token : tokens) token %= 64;
  CHECK_THROWS(invalid_argument,
               "the model's context is 64 (in longer sequences its longrope RoPE would have other "
               "frequencies",
               sequence_logits(phi, tokens));
  CHECK_THROWS(invalid_argument, "its dynamic RoPE would have other frequencies",
               sequence_logits(dynamic, tokens));
  tokens.pop_back();
  CHECK(sequence_logits(phi, tokens).size(0) == 64);
}
