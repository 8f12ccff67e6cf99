#include "generate/generator.h"

#include <set>

#include "check.h"
#include "completions.h"
#include "fast_ops.h"
#include "generate/cache_attention.h"
#include "model/packing.h"
#include "score/scorer.h"
#include "tiny_model.h"

using namespace cream;

static std::vector<GeneratedCompletion> collect(const Transformer& model,
                                                const GenerationRequest& request,
                                                GenerationStats* stats = nullptr) {
  return check::completions([&](const GenerationCallbacks& callbacks) {
    const GenerationStats seen = generate(model, request, callbacks, Cancel());
    if (stats) *stats = seen;
  });
}

static GenerationRequest ragged_request(uint32_t samples) {
  return check::ragged_request({{1, 4, 7, 10, 13}, samples});
}

static Tokens greedy_by_hand(const Transformer& model, Tokens tokens, int64_t count) {
  Tokens out;
  for (int64_t i = 0; i < count; ++i) {
    const TokenId next =
        static_cast<TokenId>(sequence_logits(model, tokens)[-1].argmax().item<int64_t>());
    tokens.push_back(next);
    out.push_back(next);
  }
  return out;
}

CHECK_CASE("generate: greedy tokens are those of an argmax loop without a cache") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    GenerationRequest request = ragged_request(1);
    request.sampling.temperature = 0;
    request.sampling.stop_ids = {};
    for (const auto& completion : collect(model, request)) {
      CHECK(completion.tokens ==
            greedy_by_hand(model, request.prompts[completion.prompt_index].tokens, 12));
      CHECK(completion.finish == FinishReason::length);
    }
  }
}

// Feeds fixed tokens through the KV cache, one per step, for three sequences of two prompts at
// once.
CHECK_CASE("generate: decoding over caches gives the hidden states of the packed forward") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    const ModelConfig& config = model.config();
    const c10::InferenceMode inference;
    const std::vector<Tokens> prompts{check::tiny_tokens(6, 1), check::tiny_tokens(3, 2)};
    const std::vector<Tokens> completions{check::tiny_tokens(5, 3), check::tiny_tokens(5, 4),
                                          check::tiny_tokens(5, 5)};
    std::vector<std::shared_ptr<Prefill>> prefills;
    PackedBatch batch;
    std::vector<KvBlock*> blocks;
    for (const Tokens& prompt : prompts) {
      auto prefill = std::make_shared<Prefill>();
      prefill->cache =
          std::make_shared<KvBlock>(config, model.dtype(), static_cast<int64_t>(prompt.size()));
      prefill->cache->length = prefill->cache->capacity();
      blocks.push_back(prefill->cache.get());
      prefills.push_back(prefill);
      batch.add_prompt(prompt);
    }
    PrefillAttention prefilling(batch.segments(), blocks);
    model.forward(batch.as_token_batch(), prefilling);

    std::vector<Sequence> rows(3);
    for (size_t r = 0; r < 3; ++r) {
      rows[r].prefill = prefills[r / 2];
      rows[r].own = std::make_shared<KvBlock>(config, model.dtype(), 5);
    }
    for (int64_t step = 0; step < 5; ++step) {
      DecodeAttention attention({&rows[0], &rows[1], &rows[2]}, config.num_kv_heads);
      const Tensor tokens =
          at::tensor({completions[0][step], completions[1][step], completions[2][step]}, at::kLong);
      const Tensor hidden =
          model.forward({tokens, at::tensor({6 + step, 6 + step, 3 + step}, at::kLong)}, attention);
      for (size_t r = 0; r < 3; ++r) {
        ++rows[r].own->length;
        PackedBatch whole;
        whole.add_prompt(check::joined(
            prompts[r / 2], Tokens(completions[r].begin(), completions[r].begin() + step + 1)));
        PackedAttention plain(whole.segments());
        CHECK_CLOSE(hidden[r], model.forward(whole.as_token_batch(), plain)[-1], 2e-5);
      }
    }
  }
}

static bool same(const GeneratedCompletion& a, const GeneratedCompletion& b, double tolerance) {
  if (a.tokens != b.tokens || a.finish != b.finish || a.sample != b.sample) return false;
  for (size_t i = 0; i < a.logprobs.size(); ++i) {
    if (std::abs(a.logprobs[i] - b.logprobs[i]) > tolerance) return false;
  }
  return true;
}

CHECK_CASE("generate: a sample does not depend on the rows beside it") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged_request(3);
  const auto together = collect(model, request);
  CHECK(together.size() == 15);
  for (const int64_t max_num_seqs : {1, 2, 3, 7}) {
    request.max_num_seqs = max_num_seqs;
    const auto narrow = collect(model, request);
    CHECK(narrow.size() == together.size());
    for (size_t i = 0; i < narrow.size(); ++i) CHECK(same(narrow[i], together[i], 1e-4));
  }
  for (uint32_t p = 0; p < 5; ++p) {
    GenerationRequest one = request;
    one.prompts = {request.prompts[p]};
    one.prompts[0].first_sample = 2;  // the third sample alone
    one.prompts[0].samples = 1;
    CHECK(same(collect(model, one)[0], together[3 * p + 2], 1e-4));
  }
}

CHECK_LEVELS("generate: where there are kernels, bit for bit in bfloat16 and float32") {
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    const Transformer model = check::tiny_model({2, true, dtype});
    GenerationRequest request = ragged_request(3);
    const auto together = collect(model, request);
    for (const int64_t max_num_seqs : {1, 3, 7}) {
      request.max_num_seqs = max_num_seqs;
      const auto narrow = collect(model, request);
      for (size_t i = 0; i < narrow.size(); ++i) CHECK(same(narrow[i], together[i], 0));
    }
  }
}

// Sampling, scoring and training give a token the same log-prob, so no correction between them is
// needed.
CHECK_LEVELS(
    "generate: sampled log-probs are the scored ones, bit for bit in bfloat16 and float32") {
  std::vector<check::TinyShape> shapes = check::tiny_shapes();
  for (auto shape : check::tiny_shapes()) shape.dtype = at::kBFloat16, shapes.push_back(shape);
  for (const auto& shape : shapes) {
    const Transformer model = check::tiny_model(shape);
    const GenerationRequest request = ragged_request(3);
    ScoringRequest scoring;
    for (const auto& prompt : request.prompts) scoring.groups.push_back({prompt.tokens, {}});
    std::vector<float> sampled;
    for (const auto& completion : collect(model, request)) {
      scoring.groups[completion.prompt_index].completions.push_back(completion.tokens);
      sampled.insert(sampled.end(), completion.logprobs.begin(), completion.logprobs.end());
    }
    CHECK(score(model, scoring, {}, Cancel()).token_logprobs == sampled);
    scoring.max_num_batched_tokens = 24;
    CHECK(score(model, scoring, {}, Cancel()).token_logprobs == sampled);
  }
}

CHECK_CASE("generate: seed, iteration, prompt key and sample each change the draw") {
  const Transformer model = check::tiny_model();
  GenerationRequest request;
  request.prompts = {{check::tiny_tokens(4, 1), 1, 2, 0}};
  request.sampling.max_new_tokens = 16;
  const auto base = collect(model, request);
  std::set<Tokens> seen{base[0].tokens, base[1].tokens};
  GenerationRequest seed = request, iteration = request, key = request;
  seed.seed = 1;
  iteration.iteration = 1;
  key.prompts[0].key = 2;
  for (const auto& other : {seed, iteration, key}) seen.insert(collect(model, other)[0].tokens);
  CHECK(seen.size() == 5);
  CHECK(collect(model, request)[1].tokens == base[1].tokens);
}

CHECK_CASE("generate: log-probs are those that scoring gives") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    GenerationRequest request = ragged_request(2);
    request.sampling.temperature = 0.7;
    request.sampling.top_p = 0.9;
    request.sampling.min_new_tokens = 3;  // neither banned tokens nor top-p may change a log-prob
    ScoringRequest scoring;
    const auto completions = collect(model, request);
    for (const auto& completion : completions)
      scoring.groups.push_back(
          {request.prompts[completion.prompt_index].tokens, {completion.tokens}});
    const ScoringResult scores = score(model, scoring, {}, Cancel());
    for (size_t i = 0; i < completions.size(); ++i) {
      CHECK(completions[i].logprobs.size() == completions[i].tokens.size());
      for (size_t t = 0; t < completions[i].tokens.size(); ++t) {
        CHECK(std::abs(completions[i].logprobs[t] - scores.token_logprobs[scores.offsets[i] + t]) <=
              1e-4);
      }
    }
  }
}

CHECK_CASE(
    "generate: a stop id ends the completion and is its last token, not before min_new_tokens") {
  const Transformer model = check::tiny_model();
  GenerationRequest request;
  request.prompts = {{check::tiny_tokens(4, 1), 0, 1, 0}};
  request.sampling.temperature = 0;
  request.sampling.max_new_tokens = 10;
  const Tokens free = collect(model, request)[0].tokens;
  request.sampling.stop_ids = {free[2]};
  const auto first = std::find(free.begin(), free.end(), free[2]) - free.begin() +
                     1;  // the id may occur earlier too
  const auto stopped = collect(model, request)[0];
  CHECK(stopped.finish == FinishReason::eos &&
        stopped.tokens == Tokens(free.begin(), free.begin() + first));

  request.sampling.min_new_tokens = 6;
  const auto later = collect(model, request)[0];
  CHECK(later.tokens.size() >= 6);
  for (size_t i = 0; i < 6; ++i) CHECK(later.tokens[i] != free[2]);
}

static std::string spelled(const Tokens& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += static_cast<char>('a' + token % 26);
  return text;
}

CHECK_CASE("generate: a completion ends with the token that completes a stop string") {
  const Transformer model = check::tiny_model();
  GenerationRequest request;
  request.prompts = {{check::tiny_tokens(4, 1), 9, 4, 0}};
  request.sampling.max_new_tokens = 20;
  check::spell(request);
  const auto free = collect(model, request);
  const std::string text = spelled(free[0].tokens);
  request.sampling.stop_strings = {"never so", text.substr(5, 3), text.substr(6, 4)};
  const auto stopped = collect(model, request);
  for (size_t i = 0; i < free.size(); ++i) {
    const std::string whole = spelled(free[i].tokens);
    size_t end = std::string::npos;
    for (const auto& stop : request.sampling.stop_strings) {
      if (whole.find(stop) != std::string::npos)
        end = std::min(end, whole.find(stop) + stop.size());
    }
    CHECK(spelled(stopped[i].tokens) == whole.substr(0, end));
    CHECK(stopped[i].finish ==
          (end == std::string::npos ? FinishReason::length : FinishReason::stop));
  }
  CHECK(stopped[0].tokens.size() <= 8);

  request.sampling.min_new_tokens = 12;  // a string completed earlier does not stop later
  const auto held = collect(model, request)[0];
  CHECK(held.tokens.size() >= 12 &&
        std::equal(held.tokens.begin(), held.tokens.end(), free[0].tokens.begin()));
  request.token_bytes = nullptr;
  CHECK_THROWS(invalid_argument, "stop strings need the bytes of every token",
               collect(model, request));
  request.token_bytes = std::make_shared<const TokenBytes>(TokenBytes{{'a', 'b'}, {0, 1, 3}});
  CHECK_THROWS(invalid_argument, "stop strings need the bytes of every token",
               collect(model, request));
}

CHECK_CASE("generate: the end of the context ends a completion") {
  const Transformer model = check::tiny_model();
  GenerationRequest request;
  request.prompts = {{check::tiny_tokens(60, 1), 0, 2, 0}, {check::tiny_tokens(63, 2), 0, 1, 0}};
  request.sampling.max_new_tokens = 100;
  const auto completions = collect(model, request);
  CHECK(completions[0].tokens.size() == 4 && completions[1].tokens.size() == 4 &&
        completions[2].tokens.size() == 1);
  for (const auto& completion : completions) CHECK(completion.finish == FinishReason::length);
}

CHECK_CASE("generate: blocks grow past their first size without a trace") {
  const Transformer model = check::tiny_model({2, true, at::kFloat, 256});
  GenerationRequest request;
  request.prompts = {{check::tiny_tokens(4, 1), 0, 1, 0}, {check::tiny_tokens(9, 2), 0, 1, 0}};
  request.sampling.temperature = 0;
  request.sampling.max_new_tokens = 150;
  request.max_num_seqs = 1;
  ScoringRequest scoring;
  const auto completions = collect(model, request);
  for (const auto& completion : completions)
    scoring.groups.push_back(
        {request.prompts[completion.prompt_index].tokens, {completion.tokens}});
  const ScoringResult scores = score(model, scoring, {}, Cancel());
  for (size_t i = 0; i < 300; ++i)
    CHECK(std::abs(completions[i / 150].logprobs[i % 150] - scores.token_logprobs[i]) <= 1e-4);
}

CHECK_CASE(
    "generate: completions arrive as they end, tokens before them, and everything is counted") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged_request(3);
  request.max_num_seqs = 3;
  request.stream_tokens = true;
  std::vector<Tokens> streamed(15);
  Progress last;
  uint64_t tokens = 0, prompt_tokens = 0;
  GenerationCallbacks callbacks;
  callbacks.on_tokens = [&](std::vector<StreamedToken>&& step) {
    CHECK(step.size() <= 3);
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
  CHECK(last.done == 15 && last.total == 15 && last.tokens == tokens);
  CHECK(stats.completion_tokens == tokens && stats.prompt_tokens == prompt_tokens &&
        stats.decode_steps > 0);
}

CHECK_CASE("generate: a cancelled request stops, what was delivered stays") {
  const Transformer model = check::tiny_model();
  GenerationRequest request = ragged_request(2);
  request.max_num_seqs = 2;
  Cancel cancel;
  int completions = 0;
  CHECK_THROWS(aborted, "aborted",
               generate(model, request, check::cancelling(cancel, completions), cancel));
  CHECK(completions >= 1 && completions <= 2);
}

CHECK_CASE("generate: bad requests are refused by prompt before any work") {
  const Transformer model = check::tiny_model();
  const auto run = [&](const std::function<void(GenerationRequest&)>& spoil) {
    GenerationRequest request = ragged_request(1);
    spoil(request);
    collect(model, request);
  };
  CHECK_THROWS(internal, "a sequence is empty", run([](auto& r) { r.prompts[2].tokens.clear(); }));
  CHECK_THROWS(invalid_argument, "[generate] prompt 3 has 9,001 tokens, the model's context is 64",
               run([](auto& r) { r.prompts[3].tokens = check::tiny_tokens(9001, 1); }));
  CHECK_THROWS(invalid_argument, "[generate] prompt 0 has 64 tokens",
               run([](auto& r) { r.prompts[0].tokens = check::tiny_tokens(64, 1); }));
  CHECK_THROWS(internal, "outside the vocabulary",
               run([](auto& r) { r.prompts[1].tokens = {1, 96}; }));
  CHECK_THROWS(internal, "asks for no samples", run([](auto& r) { r.prompts[4].samples = 0; }));
  CHECK_THROWS(internal, "temperature", run([](auto& r) { r.sampling.temperature = NAN; }));
  CHECK_THROWS(internal, "top_p", run([](auto& r) { r.sampling.top_p = 0; }));
  CHECK_THROWS(internal, "min_new_tokens", run([](auto& r) { r.sampling.min_new_tokens = 13; }));
  CHECK_THROWS(internal, "max_num_seqs", run([](auto& r) { r.max_num_seqs = 0; }));
}

CHECK_CASE("generate: no prompts, no work") {
  const GenerationStats stats = generate(check::tiny_model(), {}, {}, Cancel());
  CHECK(stats.completion_tokens == 0 && stats.decode_steps == 0);
}
