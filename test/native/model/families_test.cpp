// Every model family against transformers (scripts/golden/families.py), below the engine:
// gradients, both dtypes, limits of length.
#include <algorithm>
#include <filesystem>

#include "check.h"
#include "fast_ops.h"
#include "generate/generator.h"
#include "golden.h"
#include "model/parameters.h"
#include "ops/dispatch.h"
#include "score/scorer.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"
#include "weights/load.h"

using namespace cream;

namespace {

// The golden models: the folders that scripts/golden/families.py wrote.
const std::vector<std::string>& golden_models() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(check::golden_path("families")))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }();
  return all;
}

std::string folder_of(const std::string& family) {
  return check::golden_path("families/" + family);
}

Transformer load(const std::string& family, at::ScalarType dtype) {
  LoadedWeights loaded = load_weights(folder_of(family), dtype);
  Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
  return Transformer(std::move(loaded.config), std::move(weights));
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
  TrainerParams params = check::trainer_params();
  params.loss.beta = check::number(expected, "beta");
  params.optimizer.learning_rate = 1e-6;
  params.optimizer.max_grad_norm = 0;
  params.activation_checkpointing = checkpointing;
  const auto reference = check::numbers(check::array(expected, "reference"));
  PreferencePair pair;
  pair.prompt = check::tokens(expected, "prompt");
  pair.chosen = check::tokens(expected, "chosen");
  pair.rejected = check::tokens(expected, "rejected");
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

CHECK_CASE("families: a padding token's row of the embedding gets no gradient, as in torch") {
  const JsonValue expected = check::golden("families/mistral/expected.json");
  PreferencePair pair;
  pair.prompt = check::tokens(expected, "prompt");
  pair.chosen = check::tokens(expected, "chosen");
  pair.rejected = check::tokens(expected, "rejected");
  const TokenId pad = pair.prompt[0];
  const auto gradient = [&](int64_t pad_token_id) {
    LoadedWeights loaded = load_weights(folder_of("mistral"), at::kFloat);
    CHECK(!loaded.config.tie_word_embeddings);
    loaded.config.pad_token_id = pad_token_id;
    Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
    Transformer model(std::move(loaded.config), std::move(weights));
    TrainerParams params = check::trainer_params();
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
  for (const std::string& family : golden_models()) check_gradients(family, false);
}

CHECK_CASE("families: gradients are the same where activations are recomputed") {
  for (const char* family : {"gemma2", "gemma3", "qwen2", "phi4-mini"})
    check_gradients(family, true);
}

CHECK_CASE("families: bf16 logits of the fast kernels agree with those of the plain ops") {
  for (const std::string& family : golden_models()) {
    const JsonValue expected = check::golden("families/" + family + "/expected.json");
    const Transformer model = load(family, at::kBFloat16);
    const Tokens tokens =
        check::joined(check::tokens(expected, "prompt"), check::tokens(expected, "chosen"));
    const Tensor fast = sequence_logits(model, tokens);
    const Tensor exact =
        at::tensor(check::numbers(check::array(expected, "logits")), at::kFloat).view(fast.sizes());
    const ops::ForcePlain force;
    CHECK_RELATIVE(fast, sequence_logits(model, tokens), 0.02);
    CHECK_RELATIVE(fast, exact, 0.05);
  }
}

CHECK_LEVELS("families: a sampled token's log-prob is its score, bit for bit in bf16") {
  for (const std::string& family : golden_models()) {
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
  for (const std::string& family : golden_models()) {
    const std::string path = folder_of(family) + "/config.json";
    const ModelConfig config = config_from_json(read_file(path, 1 << 20), path);
    const std::string written = config_to_json(config, DType::float32);
    const ModelConfig again = config_from_json(written, "again");
    CHECK(again == config);
    CHECK(config_to_json(again, DType::float32) == written);
  }
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
