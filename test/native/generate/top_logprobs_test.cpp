// The most likely tokens beside each token, against a log-softmax of the whole sequence's logits.
#include "check.h"
#include "completions.h"
#include "score/scorer.h"
#include "test_device.h"
#include "tiny_model.h"

using namespace cream;

namespace {

constexpr int64_t kTop = 5;

std::vector<GeneratedCompletion> run(const Transformer& model, const GenerationRequest& request) {
  return check::completions(
      [&](const GenerationCallbacks& callbacks) { generate(model, request, callbacks, Cancel()); });
}

void check_against_softmax(const Transformer& reference, const GenerationRequest& request,
                           const GeneratedCompletion& completion) {
  const int64_t length = static_cast<int64_t>(completion.tokens.size());
  Tokens sequence = request.prompts[completion.prompt_index].tokens;
  const int64_t first = static_cast<int64_t>(sequence.size()) - 1;
  sequence.insert(sequence.end(), completion.tokens.begin(), completion.tokens.end());
  const auto [values, ids] = sequence_logits(reference, sequence)
                                 .narrow(0, first, length)
                                 .log_softmax(-1)
                                 .topk(kTop);  // [length, kTop]
  CHECK(completion.top_tokens.size() == static_cast<size_t>(length * kTop));
  const Tensor told = at::tensor(completion.top_logprobs).view({length, kTop});
  CHECK_CLOSE(told, values, check::allowed(1e-4, 4e-4));
  for (int64_t i = 0; i < length; ++i)
    for (int64_t k = 0; k < kTop; ++k) {
      const size_t at = static_cast<size_t>(i * kTop + k);
      if (completion.top_tokens[at] == completion.tokens[static_cast<size_t>(i)])
        CHECK(completion.top_logprobs[at] == completion.logprobs[static_cast<size_t>(i)]);
      // Neighbours within rounding may change places.
      const bool close =
          k + 1 < kTop && values[i][k].item<float>() - values[i][k + 1].item<float>() < 1e-3;
      const bool closer =
          k > 0 && values[i][k - 1].item<float>() - values[i][k].item<float>() < 1e-3;
      CHECK(close || closer || completion.top_tokens[at] == ids[i][k].item<int64_t>());
    }
}

}  // namespace

CHECK_CASE("top log-probs: those of the log-softmax, on the CPU and on a device, drawn or greedy") {
  const c10::InferenceMode inference;
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape), there = check::to_device(model);
    GenerationRequest request = check::ragged_request({{1, 15, 16, 33}, 2});
    request.top_logprobs = kTop;
    for (const double temperature : {0.0, 1.0}) {
      request.sampling.temperature = temperature;
      for (const Transformer* one : {&model, &there})
        for (const auto& completion : run(*one, request))
          check_against_softmax(model, request, completion);
    }
  }
}

CHECK_CASE("top log-probs: told with each streamed token, and change no draw") {
  const c10::InferenceMode inference;
  for (const Transformer& model : {check::tiny_model(), check::to_device(check::tiny_model())}) {
    GenerationRequest request = check::ragged_request({{3}, 1});
    const GeneratedCompletion plain = run(model, request)[0];
    CHECK(plain.top_tokens.empty() && plain.top_logprobs.empty());
    request.top_logprobs = 3;
    request.stream_tokens = true;
    GeneratedCompletion whole, streamed;
    GenerationCallbacks callbacks;
    callbacks.on_tokens = [&](std::vector<StreamedToken>&& tokens) {
      for (const StreamedToken& token : tokens) {
        streamed.tokens.push_back(token.token);
        streamed.logprobs.push_back(token.logprob);
        for (const TokenId id : token.top_tokens) streamed.top_tokens.push_back(id);
        for (const float logprob : token.top_logprobs) streamed.top_logprobs.push_back(logprob);
      }
    };
    callbacks.on_completion = [&](GeneratedCompletion&& completion) { whole = completion; };
    generate(model, request, callbacks, Cancel());
    CHECK(whole.tokens == plain.tokens && whole.logprobs == plain.logprobs);
    CHECK(streamed.tokens == whole.tokens && streamed.logprobs == whole.logprobs);
    CHECK(streamed.top_tokens == whole.top_tokens && streamed.top_logprobs == whole.top_logprobs);
    CHECK(whole.top_tokens.size() == 3 * whole.tokens.size());
  }
}
