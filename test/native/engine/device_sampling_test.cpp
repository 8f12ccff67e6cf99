// Sampling and scoring through the engine on the emulated device or a GPU: against the CPU in
// float32, within bounds in bfloat16, the device's sampler against its scorer, and with little
// memory.
#include "completions.h"
#include "emulated_device.h"
#include "engine/engine.h"
#include "engine/plan.h"
#include "golden.h"
#include "model_files.h"
#include "ops/sample/op.h"
#include "support/file.h"
#include "support/random.h"
#include "test_device.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;

namespace {

constexpr TokenId kVocab = 64;  // of every model of this file

struct Pair {
  Engine there, here;
  Pair(const std::string& name, DType dtype) {
    there.load(check::golden_path(name), dtype, check::device_name(), Cancel());
    here.load(check::golden_path(name), dtype, "cpu", Cancel());
  }
};

// Lengths at page boundaries and beyond the families' sliding windows.
GenerationRequest ragged(uint32_t samples) {
  GenerationRequest request = check::ragged_request({{1, 15, 16, 17, 33, 4}, samples, 24, kVocab});
  check::spell(request, kVocab);
  return request;
}

std::vector<GeneratedCompletion> sampled(Engine& engine, const GenerationRequest& request,
                                         GenerationStats* stats = nullptr) {
  return check::completions([&](const GenerationCallbacks& callbacks) {
    const GenerationEnd end = check::generated(engine, request, callbacks).get();
    if (stats) *stats = end.stats;
  });
}

std::vector<float> logprobs(const std::vector<GeneratedCompletion>& completions) {
  std::vector<float> all;
  for (const auto& completion : completions)
    all.insert(all.end(), completion.logprobs.begin(), completion.logprobs.end());
  return all;
}

std::vector<float> rescored(Engine& engine, const GenerationRequest& request,
                            const std::vector<GeneratedCompletion>& completions) {
  ScoringRequest scoring;
  for (const auto& prompt : request.prompts) scoring.groups.push_back({prompt.tokens, {}});
  for (const auto& completion : completions)
    scoring.groups[completion.prompt_index].completions.push_back(completion.tokens);
  return engine.score(scoring, {}, Cancel()).token_logprobs;
}

double furthest(const std::vector<float>& a, const std::vector<float>& b) {
  CHECK(a.size() == b.size() && !a.empty());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::isfinite(a[i]) ? std::abs(double{a[i]} - b[i]) : INFINITY);
  return most;
}

// Whether the CPU draws `token` too where the draw or top-p is moved by as little as a GPU's
// logits may be off: its candidates are then closer than rounding.
bool nearly_drawn(Engine& here, const GenerationRequest& request,
                  const GeneratedCompletion& completion, size_t position, TokenId token) {
  const GenerationPrompt& prompt = request.prompts[completion.prompt_index];
  Tokens tokens = prompt.tokens;
  tokens.insert(tokens.end(), completion.tokens.begin(),
                completion.tokens.begin() + static_cast<int64_t>(position));
  const std::vector<float> logits = here.logits(tokens);
  const float* const last = logits.data() + logits.size() - kVocab;
  if (request.sampling.temperature == 0)
    return std::abs(last[token] - last[completion.tokens[position]]) <= 1e-4;
  const bool bans = static_cast<int64_t>(position) < request.sampling.min_new_tokens;
  const double u = uniform({request.seed, request.iteration, prompt.key, completion.sample},
                           static_cast<uint32_t>(position));
  for (const double off : {-1e-4, -1e-5, 1e-5, 1e-4})
    for (const double cut : {-1e-4, 0.0, 1e-4}) {
      SamplingParams moved = request.sampling;
      moved.top_p = std::min(1.0, moved.top_p + cut);
      if (ops::reference::sample(last, kVocab, moved, bans ? &moved.stop_ids : nullptr,
                                 std::clamp(u + off, 0.0, 1 - 0x1p-53))
              .token == token)
        return true;
    }
  return false;
}

// Equal completions. On a GPU a token may differ where rounding decides the draw; the tokens after
// it are then not compared.
void check_same(Engine& cpu, const GenerationRequest& request,
                const std::vector<GeneratedCompletion>& there,
                const std::vector<GeneratedCompletion>& here) {
  CHECK(there.size() == here.size());
  for (size_t i = 0; i < here.size(); ++i) {
    const Tokens &a = there[i].tokens, &b = here[i].tokens;
    CHECK(there[i].prompt_index == here[i].prompt_index && there[i].sample == here[i].sample);
    const size_t same = static_cast<size_t>(
        std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
    CHECK(same == 0 || furthest({there[i].logprobs.begin(), there[i].logprobs.begin() + same},
                                {here[i].logprobs.begin(), here[i].logprobs.begin() + same}) <=
                           check::allowed(5e-5, 1e-4));
    if (same == a.size() && same == b.size() && there[i].finish == here[i].finish) continue;
    CHECK(check::runs_on_gpu() && same < a.size() && same < b.size() &&
          nearly_drawn(cpu, request, here[i], same, a[same]));
    std::printf("  prompt %u, sample %u: token %zu is %d on the GPU and %d on the CPU\n",
                static_cast<unsigned>(here[i].prompt_index), here[i].sample, same, a[same],
                b[same]);
  }
}

// Temperature 1 over all tokens; top-p; greedy; stops. The longest prompts are also prefilled in
// chunks.
std::vector<GenerationRequest> requests() {
  std::vector<GenerationRequest> all(4, ragged(3));
  all[1].sampling.temperature = 0.8, all[1].sampling.top_p = 0.9, all[1].sampling.top_k = 20,
  all[1].max_num_seqs = 5, all[1].prefill_tokens = 16;
  all[2].sampling.temperature = 0, all[2].max_num_seqs = 1;
  all[3].sampling.stop_strings = {"b", "ca", "x"}, all[3].sampling.min_new_tokens = 3,
  all[3].max_num_seqs = 7, all[3].prefill_tokens = 32;
  return all;
}

const std::vector<std::string> kModels = {
    "tiny-gqa-untied", "tiny-mha-tied",  "families/llama-3.2", "families/mistral",
    "families/qwen2",  "families/qwen3", "families/smollm3",   "families/gemma2",
    "families/gemma3", "families/phi3",  "families/phi4-mini"};

// An adapter with a non-zero effect, made on the CPU.
void make_adapter(const std::string& name, DType dtype, const std::string& directory) {
  Engine engine;
  engine.load(check::golden_path(name), dtype, "cpu", Cancel());
  engine.add_adapter({4, 8, 0, false, {}}, 3);
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 0.02, params.optimizer.schedule = Schedule::constant,
  params.optimizer.total_steps = 10;
  const uint64_t trainer = engine.start_trainer(params);
  for (int step = 0; step < 3; ++step)
    engine.sft_step(trainer, {{{1, 2, 3}, {4, 5, 6, 7}}, {{9, 8}, {30, 40}}}, Cancel());
  engine.end_trainer(trainer);
  engine.save_adapter(directory, DType::float32, "");
}

// Several sequences per prompt, waiting sequences, long sequences: the results do not depend on the
// memory.
GenerationRequest many() {
  GenerationRequest request = check::ragged_request({{60, 33, 48, 20, 9, 64, 3}, 5, 40, kVocab});
  request.sampling.stop_ids = {};
  return request;
}

// The least memory in which the plan decodes this many sequences.
uint64_t memory_for(const Engine& engine, int64_t rows) {
  PlanRequest request;
  request.config = engine.info().config;
  request.dtype = engine.info().dtype;
  request.stage = PlanStage::sample;
  request.prompt_tokens = 64, request.new_tokens = 40, request.samples = 5;
  uint64_t low = 0, high = uint64_t{2} << 30;
  while (low + 1 < high) {
    request.device_bytes = (low + high) / 2;
    const Plan plan = plan_memory(request);
    (plan.fits() && plan.max_num_seqs >= rows ? high : low) = request.device_bytes;
  }
  return high;
}

}  // namespace

CHECK_CASE(
    "device sampling: in float32 the engine's tokens are the CPU's, of every family and sampling") {
  for (const std::string& name : kModels) {
    Pair pair(name, DType::float32);
    for (const GenerationRequest& request : requests()) {
      const auto there = sampled(pair.there, request);
      check_same(pair.here, request, there, sampled(pair.here, request));
      CHECK(furthest(rescored(pair.there, request, there), logprobs(there)) <=
            check::allowed(2e-5, 1e-4));
    }
  }
}

// The bound is bfloat16's own error: how far the CPU's log-probs of the same tokens are from
// float32's. The device has an error of its own, and the two may differ by the sum. A GPU's sampler
// and scorer have the same bits; the emulated device has the CPU's products, which depend on the
// number of rows.
CHECK_CASE(
    "device sampling: in bfloat16 log-probs are the CPU's and the device's own scorer's within its "
    "rounding") {
  double own = 0, cpu = 0, rounding = 0;
  for (const std::string& name : kModels) {
    Pair pair(name, DType::bfloat16);
    Engine exact;
    exact.load(check::golden_path(name), DType::float32, "cpu", Cancel());
    double across = 0, floor = 0, apart = 0;
    for (const GenerationRequest& request : requests()) {
      const auto there = sampled(pair.there, request);
      CHECK(there.size() == 18);
      const auto said = logprobs(there), expected = rescored(pair.here, request, there);
      apart = std::max(apart, furthest(said, rescored(pair.there, request, there)));
      across = std::max(across, furthest(said, expected)),
      floor = std::max(floor, furthest(expected, rescored(exact, request, there)));
    }
    std::printf("  %s: %.4f %.4f, sampler and scorer %.2g\n", name.c_str(), across, floor, apart);
    own = std::max(own, apart);
    CHECK(across <= 2 * floor);
    cpu = std::max(cpu, across), rounding = std::max(rounding, floor);
  }
  std::printf(
      "  furthest log-probs in bfloat16: device's sampler and scorer %.4f, device and CPU %.4f, "
      "CPU and float32 %.4f\n",
      own, cpu, rounding);
  CHECK(own <= check::allowed(0.1, 0));
}

// The cap of the golden model is 4, whose reciprocal is exact; Gemma 2's is 30.
CHECK_CASE("device sampling: a capped head's log-probs are the device's own scorer's") {
  const model_files::TemporaryFolder folder;
  const std::string golden = check::golden_path("families/gemma2");
  std::filesystem::copy_file(golden + "/model.safetensors", folder.file("model.safetensors"));
  std::string config = read_file(golden + "/config.json", 1 << 20);
  const std::string cap = "\"final_logit_softcapping\": 4.0";
  CHECK(config.find(cap) != std::string::npos);
  config.replace(config.find(cap), cap.size(), "\"final_logit_softcapping\": 30.0");
  folder.write("config.json", config);
  Engine there;
  there.load(folder.path(), DType::bfloat16, check::device_name(), Cancel());
  for (const GenerationRequest& request : requests()) {
    const auto drawn = sampled(there, request);
    CHECK(furthest(logprobs(drawn), rescored(there, request, drawn)) <= check::allowed(0.1, 0));
  }
}

CHECK_CASE("device sampling: an adapter's policy, and the base beside it") {
  const model_files::TemporaryFolder folder;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    const bool wide = dtype == DType::float32;
    make_adapter("families/qwen2", dtype, folder.file("adapter"));
    Pair pair("families/qwen2", dtype);
    const GenerationRequest request = ragged(3);
    const auto base = sampled(pair.there, request);
    pair.there.load_adapter(folder.file("adapter")), pair.here.load_adapter(folder.file("adapter"));
    const auto there = sampled(pair.there, request);
    CHECK(furthest(rescored(pair.there, request, base), logprobs(base)) >
          0.1);  // the adapter has an effect
    CHECK(furthest(rescored(pair.there, request, there), logprobs(there)) <=
          (wide ? check::allowed(2e-5, 1e-4) : check::allowed(0.05, 0.15)));
    CHECK(furthest(rescored(pair.here, request, there), logprobs(there)) <=
          (wide ? check::allowed(5e-5, 1e-4) : 0.15));
    if (wide) check_same(pair.here, request, there, sampled(pair.here, request));
    const auto snapshot = pair.there.snapshot(/*adapter=*/false);
    const auto again = sampled(*snapshot, request);
    for (size_t i = 0; i < base.size(); ++i)
      CHECK(again[i].tokens == base[i].tokens && again[i].logprobs == base[i].logprobs);
  }
}

CHECK_CASE("device sampling: a small memory makes rows and pages fewer, never the result another") {
  Pair pair("tiny-gqa-untied", DType::float32);
  GenerationRequest request = many();
  GenerationStats free, few;
  const auto expected = sampled(pair.here, request);
  const auto check_drawn = [&](GenerationStats* stats) {
    check_same(pair.here, request, sampled(pair.there, request, stats), expected);
  };
  check_drawn(&free);
  uint64_t steps = free.decode_steps;
  for (const int64_t rows : {32, 8, 2, 1}) {
    const check::EmulatedMemory memory(memory_for(pair.there, rows));
    check_drawn(&few);
    CHECK(few.decode_steps > steps &&
          few.decode_steps >= 35 * 40 / static_cast<uint64_t>(rows) - 40);
    steps = few.decode_steps;
  }
  const check::EmulatedMemory none(
      1);  // a request that fits no plan is tried with the smallest one
  check_drawn(nullptr);
  request.max_num_seqs = 0;
  check_drawn(nullptr);
  check_same(pair.here, request, sampled(pair.here, request), expected);
}

CHECK_CASE(
    "device sampling: a small memory makes scoring's batches smaller, and the trainer's state "
    "counts") {
  Pair pair("tiny-gqa-untied", DType::float32);
  ScoringRequest scoring;
  for (uint64_t g = 0; g < 60; ++g) {
    Tokens prompt = check::tiny_tokens(60, g), completion = check::tiny_tokens(50, 100 + g);
    for (Tokens* tokens : {&prompt, &completion})
      for (TokenId& token : *tokens) token %= kVocab;
    scoring.groups.push_back({prompt, {completion}});
  }
  scoring.max_num_batched_tokens = 0;
  const auto passes = [&](Engine& engine) {
    int count = 0;
    const auto result = engine.score(scoring, [&](const Progress&) { ++count; }, Cancel());
    return std::pair(count, result.token_logprobs);
  };
  const auto [cpu, expected] = passes(pair.here);
  CHECK(cpu == 2);  // 60 · 109 tokens in batches of 4096
  const auto large = [&] {
    const check::EmulatedMemory memory(uint64_t{8} << 30);
    return passes(pair.there);
  }();
  const check::EmulatedMemory memory(1);
  const auto small = passes(pair.there);
  CHECK(large.first == 1 && small.first == 7);
  CHECK(furthest(large.second, expected) <= 5e-5 && furthest(small.second, expected) <= 5e-5);
}

CHECK_CASE("device: memory goes back to it when a trainer ends and when a model is let go of") {
  Engine engine;
  engine.load(check::golden_path("tiny-gqa-untied"), DType::float32, check::device_name(),
              Cancel());
  const int64_t before = check::emulated_releases();
  const uint64_t trainer = engine.start_trainer({});
  engine.end_trainer(trainer);
  CHECK(check::emulated_releases() == before + 1);
  engine.end_trainer(trainer);
  CHECK(check::emulated_releases() == before + 1);
  engine.unload();
  CHECK(check::emulated_releases() == before + 2);
}
