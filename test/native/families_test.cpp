// Every model family against transformers (scripts/golden/families.py), below the engine:
// config.json, gradients, both dtypes.
#include <filesystem>

#include "check.h"
#include "fast_ops.h"
#include "generate/generator.h"
#include "golden.h"
#include "ops/dispatch.h"
#include "score/scorer.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "weights/load.h"
#include "weights/names.h"

using namespace cream;

namespace {

constexpr const char* kFamilies[] = {
    "llama-linear", "llama-dynamic",  "llama-3.2", "llama-yarn", "mistral", "qwen2",    "qwen3",
    "smollm3",      "smollm3-window", "gemma2",    "gemma3",     "phi3",    "phi4-mini"};

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

}  // namespace

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
  CHECK(qwen.head_dim == 128 && qwen.qk_norm && !qwen.qkv_bias && qwen.layers.empty() &&
        qwen.bos_token_id == -1 && qwen.eos_token_ids.empty());
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
