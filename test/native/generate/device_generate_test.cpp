// Generation on a device (paged KV cache, sampling on the device, the host one step behind) against
// the CPU's generator, token for token.
#include <algorithm>
#include <set>

#include "check.h"
#include "completions.h"
#include "generate/device_batch.h"
#include "ops/dispatch.h"
#include "test_device.h"
#include "tiny_model.h"

using namespace cream;

namespace {

enum class Place { cpu, device };

// The reference is the CPU with plain kernels; the device gets a copy of the model.
std::vector<GeneratedCompletion> run(Place place, const Transformer& model,
                                     const GenerationRequest& request) {
  std::optional<ops::ForcePlain> plain;
  if (place == Place::cpu) plain.emplace();
  const Transformer model_there = place == Place::device ? check::to_device(model) : model;
  return check::completions([&](const GenerationCallbacks& callbacks) {
    generate(model_there, request, callbacks, Cancel());
  });
}

GenerationRequest ragged(uint32_t samples) {
  GenerationRequest request = check::ragged_request({{1, 15, 16, 17, 33, 4}, samples, 21});
  for (uint32_t p = 0; p < request.prompts.size(); ++p) request.prompts[p].first_sample = p;
  return request;
}

void check_same(const std::vector<GeneratedCompletion>& device,
                const std::vector<GeneratedCompletion>& cpu) {
  CHECK(device.size() == cpu.size());
  int differ = 0;  // a draw within rounding of a boundary changes all later tokens on a GPU
  for (size_t i = 0; i < cpu.size(); ++i) {
    CHECK(device[i].prompt_index == cpu[i].prompt_index && device[i].sample == cpu[i].sample);
    if (device[i].tokens != cpu[i].tokens) {
      CHECK(++differ <= check::allowed(0, 1));
      continue;
    }
    CHECK(device[i].finish == cpu[i].finish);
    CHECK(device[i].logprobs.size() == cpu[i].logprobs.size());
    // fp32 sums in different orders differ by up to 1.6e-5 (measured); a wrong page or position
    // differs by tenths.
    CHECK_CLOSE(at::tensor(device[i].logprobs), at::tensor(cpu[i].logprobs),
                check::allowed(5e-5, 2e-4));
  }
}

void check_as_on_cpu(const Transformer& model, const GenerationRequest& request) {
  check_same(run(Place::device, model, request), run(Place::cpu, model, request));
}

}  // namespace

CHECK_CASE(
    "device generate: the CPU's tokens, whatever the model's shape, the rows and the sampling") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    GenerationRequest request = ragged(3);
    for (const int64_t max_num_seqs : {1, 5, 64}) {
      request.max_num_seqs = max_num_seqs;
      check_as_on_cpu(model, request);
    }
    request.sampling.temperature = 0;
    check_as_on_cpu(model, request);
    request.sampling.temperature = 0.7;
    request.sampling.top_p = 0.8;
    check_as_on_cpu(model, request);
    request.sampling.top_k = 5;
    check_as_on_cpu(model, request);
  }
}

CHECK_CASE(
    "device generate: rows wait where pages are few, and a sequence that fits in none is refused") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged(4);
  const auto expected = run(Place::cpu, model, request);
  for (const int64_t pages :
       {5, 6, 9, 14, 200}) {  // 33 + 20 positions with a copied page take 3 + 2
    request.most_pages = pages;
    check_same(run(Place::device, model, request), expected);
  }
  request.most_pages = 4;
  CHECK_THROWS(out_of_memory,
               "[generate] prompt 4 of 33 tokens needs 5 pages of keys and values for 21 new "
               "tokens, but the device's cache has 4",
               run(Place::device, model, request));
  for (auto& prompt : request.prompts)
    prompt.samples = 1;  // a single sequence continues in its prompt's page
  check_as_on_cpu(model, request);
}

CHECK_CASE(
    "device generate: a prompt longer than a pass is computed in chunks, with the result of one "
    "pass") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model({shape.num_kv_heads, shape.tied, at::kFloat, 512});
    GenerationRequest request = check::ragged_request({{40, 150, 31, 64, 33, 200, 5}, 2});
    const auto expected = run(Place::cpu, model, request);
    for (const int64_t rows : {1, 16, 40, 64, 100, 1000}) {
      request.prefill_tokens = rows;
      check_same(run(Place::device, model, request), expected);
    }
  }
}

CHECK_CASE(
    "device generate: stop ids wait for min_new_tokens, stop strings end a sample one step late "
    "without a trace") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged(3);
  for (int32_t id = 0; id < 30; ++id) request.sampling.stop_ids.push_back(3 * id);
  check_as_on_cpu(model, request);
  request.sampling.min_new_tokens = 6;
  check_as_on_cpu(model, request);
  request.sampling.min_new_tokens = 0;
  request.sampling.stop_ids = {};
  check::spell(request);
  request.sampling.stop_strings = {"b", "ca", "x"};
  request.max_num_seqs = 4;
  check_as_on_cpu(model, request);
  request.sampling.min_new_tokens = 4;
  check_as_on_cpu(model, request);
  request.token_bytes = nullptr;
  CHECK_THROWS(invalid_argument, "stop strings need the bytes of every token",
               run(Place::device, model, request));
}

CHECK_CASE("device generate: one new token, and the end of the context") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged(3);
  request.sampling.max_new_tokens = 1;
  check_as_on_cpu(model, request);
  request.prompts = {{check::tiny_tokens(60, 1), 0, 2, 0},
                     {check::tiny_tokens(63, 2), 0, 3, 0},
                     {check::tiny_tokens(48, 3), 0, 2, 0}};
  request.sampling.max_new_tokens = 100;
  request.sampling.stop_ids = {};
  check_as_on_cpu(model, request);
  request.prompts.clear();
  CHECK(run(Place::device, model, request).empty());
}

CHECK_CASE(
    "device generate: tokens stream in order before their completions, and everything is counted "
    "once") {
  const c10::InferenceMode inference;
  const Transformer model = check::to_device(check::tiny_model());
  GenerationRequest request = ragged(3);
  for (auto& prompt : request.prompts) prompt.first_sample = 0;
  request.max_num_seqs = 5;
  request.stream_tokens = true;
  std::vector<Tokens> streamed(18);
  Progress last;
  uint64_t tokens = 0, prompt_tokens = 0;
  GenerationCallbacks callbacks;
  callbacks.on_tokens = [&](std::vector<StreamedToken>&& step) {
    CHECK(!step.empty() && step.size() <= 5);
    for (const auto& token : step)
      streamed[3 * token.prompt_index + token.sample].push_back(token.token);
  };
  callbacks.on_completion = [&](GeneratedCompletion&& completion) {
    CHECK(streamed[3 * completion.prompt_index + completion.sample] == completion.tokens);
    tokens += completion.tokens.size();
  };
  callbacks.on_progress = [&](const Progress& progress) { last = progress; };
  const GenerationStats stats = generate(model, request, callbacks, Cancel());
  for (const auto& prompt : request.prompts) prompt_tokens += prompt.tokens.size();
  CHECK(last.done == 18 && last.total == 18 && last.tokens == tokens);
  CHECK(stats.completion_tokens == tokens && stats.prompt_tokens == prompt_tokens);
  CHECK(stats.decode_steps > 0 && stats.decode_seconds > 0 && stats.prefill_seconds > 0);
}

CHECK_CASE("device generate: a cancelled run stops, what was delivered stays") {
  const c10::InferenceMode inference;
  const Transformer model = check::to_device(check::tiny_model());
  GenerationRequest request = ragged(2);
  request.max_num_seqs = 2;
  Cancel cancel;
  int completions = 0;
  CHECK_THROWS(aborted, "aborted",
               generate(model, request, check::cancelling(cancel, completions), cancel));
  CHECK(completions >= 1 && completions <= 2);
}

CHECK_CASE("device generate: logits without a finite value are an error, not a token") {
  const Transformer model = check::tiny_model();
  Tensor weight = model.weights().final_norm;  // shares memory with the model
  weight.fill_(NAN);
  CHECK_THROWS(non_finite, "no token has a finite logit", run(Place::device, model, ragged(2)));
}

CHECK_CASE("device generate: rows come in buckets") {
  CHECK(row_bucket(1) == 1 && row_bucket(2) == 2 && row_bucket(3) == 4 && row_bucket(5) == 8 &&
        row_bucket(8) == 8);
  CHECK(row_bucket(9) == 16 && row_bucket(16) == 16 && row_bucket(17) == 24 &&
        row_bucket(33) == 40 && row_bucket(64) == 64);
}
