// GGUF files of other families, converted from the golden Hugging Face checkpoints by llama.cpp's
// rules, load as the same models.
#include <map>

#include "check.h"
#include "golden.h"
#include "model/families.h"
#include "model/parameters.h"
#include "model_files.h"
#include "weights/load.h"
#include "weights/reader.h"

using namespace cream;
using namespace model_files;

namespace {

std::string floats(const Tensor& values) {
  const Tensor flat = values.to(at::kFloat).contiguous();
  return {static_cast<const char*>(flat.const_data_ptr()),
          static_cast<size_t>(flat.numel()) * sizeof(float)};
}

// Converts one Hugging Face tensor as llama.cpp's converter does.
Tensor converted(const ModelConfig& config, const std::string& gguf_name, Tensor x) {
  if (config.norm_offset != 0 && gguf_name.ends_with("_norm.weight")) return x + config.norm_offset;
  const bool q = gguf_name.ends_with(".attn_q.weight"), k = gguf_name.ends_with(".attn_k.weight");
  if (family_of(config).gguf.as_llama && (q || k))
    return x.view({q ? config.num_heads : config.num_kv_heads, 2, config.head_dim / 2, x.size(1)})
        .transpose(1, 2)
        .reshape(x.sizes());
  return x;
}

Gguf gguf_of(const std::string& architecture, const std::string& family,
             const ModelConfig& config) {
  Gguf g;
  const auto key = [&](const char* name) { return architecture + "." + name; };
  const auto u32 = [&](const char* name, int64_t value) {
    g.metadata.emplace_back(key(name), u32_value(static_cast<uint32_t>(value)));
  };
  const auto f32 = [&](const char* name, double value) {
    g.metadata.emplace_back(key(name), f32_value(static_cast<float>(value)));
  };
  g.metadata.emplace_back("general.architecture", string_value(architecture));
  u32("block_count", config.num_layers);
  u32("context_length", config.max_position_embeddings);
  u32("embedding_length", config.hidden_size);
  u32("feed_forward_length", config.intermediate_size);
  u32("attention.head_count", config.num_heads);
  u32("attention.head_count_kv", config.num_kv_heads);
  u32("attention.key_length", config.head_dim);
  f32("attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  f32("rope.freq_base", config.rope.theta);
  if (config.sliding_window > 0 && !architecture.starts_with("qwen"))
    u32("attention.sliding_window", config.sliding_window);
  if (config.attention_softcap > 0) f32("attn_logit_softcapping", config.attention_softcap);
  if (config.final_softcap > 0) f32("final_logit_softcapping", config.final_softcap);
  if (config.attention_multiplier > 0) f32("attention.scale", config.attention_multiplier);
  if (config.embedding_multiplier != 1) f32("embedding_scale", config.embedding_multiplier);
  if (config.residual_multiplier != 1) f32("residual_scale", config.residual_multiplier);
  if (config.logits_scaling != 1) f32("logit_scale", config.logits_scaling);
  if (config.rope.type == "linear") {
    g.metadata.emplace_back(key("rope.scaling.type"), string_value("linear"));
    f32("rope.scaling.factor", config.rope.factor);
  }
  g.metadata.emplace_back("tokenizer.ggml.bos_token_id", u32_value(1));
  g.metadata.emplace_back("tokenizer.ggml.eos_token_id", u32_value(2));
  const auto reader = open_safetensors(check::golden_path("families/" + family));
  for (const Parameter& parameter : parameter_layout(config))
    for (const Part& part : parameter.parts) {
      const Tensor tensor =
          converted(config, part.gguf, reader->read(part.huggingface, at::kFloat));
      std::vector<uint64_t> dims(tensor.sizes().rbegin(), tensor.sizes().rend());
      g.tensors.push_back({part.gguf, dims, 0, floats(tensor), std::nullopt});
    }
  return g;
}

// `config`: the config that the GGUF file must load as.
void check_same(const std::string& architecture, const std::string& family,
                const std::function<void(ModelConfig&)>& adjust) {
  const TemporaryFolder folder;
  LoadedWeights expected = load_weights(check::golden_path("families/" + family), at::kFloat);
  const Gguf g = gguf_of(architecture, family, expected.config);
  adjust(expected.config);
  const LoadedWeights loaded = load_weights(folder.write("x.gguf", g.build()), at::kFloat);
  ModelConfig config = loaded.config;
  config.rms_norm_eps = expected.config.rms_norm_eps;  // a float in GGUF
  if (!(config == expected.config))
    throw check::Failure(family + " as GGUF: " + config_to_json(config, DType::float32) +
                         " instead of " + config_to_json(expected.config, DType::float32));
  CHECK(loaded.tensors.size() == expected.tensors.size());
  for (size_t i = 0; i < loaded.tensors.size(); ++i) {
    CHECK(loaded.tensors[i].first == expected.tensors[i].first);
    CHECK_CLOSE(loaded.tensors[i].second, expected.tensors[i].second,
                1e-7);  // a Gemma norm plus 1, rounded, minus 1
  }
}

void as_it_is(ModelConfig&) {}

}  // namespace

CHECK_CASE(
    "weights: GGUF files of Qwen, Gemma, Phi, OLMo and Granite are the models that their "
    "safetensors are") {
  // GGUF has no fields for settings that llama.cpp fixes for these models; the golden models differ
  // in them on purpose.
  check_same("qwen2", "qwen2", [](ModelConfig& c) {
    c.rope = RopeConfig{};
    c.sliding_window = 0;
    c.layers.clear();
  });
  check_same("qwen3", "qwen3", as_it_is);
  check_same("gemma2", "gemma2",
             [](ModelConfig& c) { c.query_pre_attn_scalar = static_cast<double>(c.head_dim); });
  check_same("gemma3", "gemma3", [](ModelConfig& c) {
    c.query_pre_attn_scalar = static_cast<double>(c.head_dim);
    for (LayerKind& kind : c.layers)
      kind.sliding = true;  // 3 layers: only every sixth has full attention
  });
  check_same("phi3", "phi3", as_it_is);
  check_same("olmo2", "olmo2", as_it_is);
  check_same("granite", "granite", as_it_is);
  check_same("olmo2", "olmo3", [](ModelConfig& c) {
    c.rope = RopeConfig{};
    for (LayerKind& kind : c.layers) kind.sliding = true;  // 2 layers: every fourth has not
  });
}

CHECK_CASE("weights: a GGUF's rope_freqs are llama3 scaling, and others are refused") {
  const std::string family = "llama-3.2";
  const ModelConfig golden =
      load_weights(check::golden_path("families/" + family), at::kFloat).config;
  Gguf g = gguf_of("llama", family, golden);
  // Llama 3.2's factors at this head size, by the formula of transformers' frequencies.
  std::string factors;
  std::vector<float> values;
  for (int64_t i = 0; i < golden.head_dim; i += 2) {
    const double wavelength =
        2 * 3.14159265358979323846 *
        std::pow(10000.0, static_cast<double>(i) / static_cast<double>(golden.head_dim));
    double factor = 1;
    if (wavelength > 8192.0)
      factor = 32;
    else if (wavelength > 8192.0 / 4)
      factor = 1 / ((1 - (8192.0 / wavelength - 1) / 3) / 32 + (8192.0 / wavelength - 1) / 3);
    factors += raw(static_cast<float>(factor));
    values.push_back(static_cast<float>(factor));
  }
  CHECK(values.front() == 1 && values.back() == 32);
  const auto count = static_cast<uint64_t>(golden.head_dim / 2);
  g.tensors.push_back({"rope_freqs.weight", {count}, 0, factors, std::nullopt});
  const TemporaryFolder folder;
  const LoadedWeights loaded = load_weights(folder.write("x.gguf", g.build()), at::kFloat);
  const RopeConfig& rope = loaded.config.rope;
  CHECK(rope.type == "llama3" && rope.factor == 32 && rope.low_freq_factor == 1 &&
        rope.high_freq_factor == 4);
  CHECK(rope.original_max_position_embeddings == 8192);
  CHECK(config_from_json(config_to_json(loaded.config, DType::float32), "again") == loaded.config);

  g.tensor("rope_freqs.weight").data = factors.substr(0, factors.size() - 4) + raw(31.0f);
  const std::string other = folder.write("other.gguf", g.build());
  CHECK_THROWS(unsupported, "holds other factors than Llama 3.1's",
               load_weights(other, at::kFloat));
}

CHECK_CASE("weights: GGUF of what the engine does not know asks for the safetensors folder") {
  const ModelConfig golden = load_weights(check::golden_path("families/phi3"), at::kFloat).config;
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& part, const std::function<void(Gguf&)>& change) {
    Gguf g = gguf_of("phi3", "phi3", golden);
    change(g);
    const std::string path = folder.write("x.gguf", g.build());
    CHECK_THROWS(unsupported, part, load_weights(path, at::kFloat));
    CHECK_THROWS(unsupported, "Use the model's safetensors folder", load_weights(path, at::kFloat));
  };
  refused("general.architecture is \"mamba\"",
          [](Gguf& g) { *g.value("general.architecture") = string_value("mamba"); });
  refused("asks for longrope scaling", [](Gguf& g) {
    g.tensors.push_back({"rope_factors_long.weight", {8}, 0, numbered(1, 8), std::nullopt});
  });
  refused("RoPE scaling of type \"yarn\"",
          [](Gguf& g) { g.metadata.emplace_back("phi3.rope.scaling.type", string_value("yarn")); });
  refused("differs from the head size of 16",
          [](Gguf& g) { g.metadata.emplace_back("phi3.rope.dimension_count", u32_value(12)); });
  const auto set = [](const std::string& key, const std::string& value) {
    return [=](Gguf& g) { g.metadata.emplace_back("phi3." + key, value); };
  };
  const std::string no = raw<uint32_t>(7) + std::string(1, '\0');
  for (const auto& [key, value] :
       std::map<std::string, std::string>{{"rope.scaling.attn_factor", f32_value(2)},
                                          {"attention.causal", no},
                                          {"attention.clamp_kqv", f32_value(8)},
                                          {"attention.scale", f32_value(0.5)},
                                          {"attn_logit_softcapping", f32_value(50)},
                                          {"logit_scale", f32_value(0.5)},
                                          {"a_key_of_tomorrow", string_value("x")}})
    refused("phi3." + key + " is set", set(key, value));
  // Neutral values, and keys that change no number.
  for (const auto& change :
       {set("rope.scaling.attn_factor", f32_value(1)), set("attention.clamp_kqv", f32_value(0)),
        set("use_parallel_residual", no), set("vocab_size", u32_value(1)),
        set("tensor_data_layout", string_value("x"))}) {
    Gguf g = gguf_of("phi3", "phi3", golden);
    change(g);
    CHECK(load_weights(folder.write("y.gguf", g.build()), at::kFloat).config == golden);
  }
}
