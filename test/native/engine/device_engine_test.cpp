// The engine on the emulated device or a GPU, compared with the engine on the CPU: logits, scores,
// training, adapters, trainer states.
#include <filesystem>

#include "engine/engine.h"
#include "fast_ops.h"
#include "golden.h"
#include "model_files.h"
#include "ops/dispatch.h"
#include "score/scorer.h"
#include "test_device.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;
using check::test_device;
using check::to_device;

namespace {

// Tokens valid for every model of this file.
Tokens tokens(int64_t length, uint64_t seed) {
  Tokens all = check::tiny_tokens(length, seed);
  for (auto& token : all) token %= 64;
  return all;
}

TrainerParams small_params(int64_t micro_batch_tokens = 40, bool checkpointing = true) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 1e-3;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.micro_batch_tokens = micro_batch_tokens;
  params.activation_checkpointing = checkpointing;
  return params;
}

std::vector<PreferencePair> pairs() {
  std::vector<PreferencePair> all;
  for (uint64_t i = 0; i < 3; ++i)
    all.push_back({tokens(3 + 4 * i, i), tokens(1 + 5 * i, 50 + i), tokens(9 - 2 * i, 90 + i), -20,
                   -25, 0.8, 0, 0, 0.5});
  return all;
}

std::vector<SftExample> examples() {
  return {{tokens(5, 1), tokens(7, 2)}, {tokens(2, 3), tokens(1, 4)}};
}

ScoringRequest request() {
  ScoringRequest request;
  request.groups.push_back({tokens(6, 1), {tokens(4, 2), tokens(1, 3), tokens(9, 4)}});
  return request;
}

// Two steps of each kind: losses and gradient norms, then log-probs of the trained completions.
std::vector<double> trained(Transformer& model, const TrainerParams& params) {
  Trainer trainer(model, params, {});
  std::vector<double> out;
  const auto add = [&](const StepMetrics& metrics) {
    out.insert(out.end(), {metrics.loss, metrics.grad_norm});
  };
  for (int step = 0; step < 2; ++step)
    add(trainer.preference_step(pairs(), Cancel())), add(trainer.sft_step(examples(), Cancel()));
  for (const double sum : score(model, request(), {}, Cancel()).sums) out.push_back(sum);
  return out;
}

void check_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  CHECK(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i]))) continue;
    throw check::Failure("number " + std::to_string(i) + " is " + std::to_string(a[i]) +
                         " on the device, " + std::to_string(b[i]) + " on the CPU");
  }
}

// In bfloat16 AdamW amplifies the rounding of small gradients to full steps.
double step_tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-4 : 0.04; }

}  // namespace

CHECK_CASE("device: training on it, checkpointed and not, takes the steps of the plain ops") {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const bool tied : {true, false}) {
      const check::TinyShape shape{2, tied, dtype};
      Transformer there = to_device(check::tiny_model(shape)), here = check::tiny_model(shape);
      CHECK(there.device() == test_device());
      const uint64_t norms = ops::fast_runs(ops::Op::rms_norm),
                     heads = ops::fast_runs(ops::Op::token_logprob);
      const auto made = trained(there, small_params(40, tied));
      CHECK(ops::fast_runs(ops::Op::rms_norm) > norms &&
            ops::fast_runs(ops::Op::token_logprob) > heads);
      const ops::ForcePlain force;
      check_close(made, trained(here, small_params(40, tied)), step_tolerance(dtype));
    }
}

CHECK_CASE("device: every loss takes the steps of the plain ops") {
  for (const PreferenceLoss& loss : check::all_losses(0.1)) {
    Transformer there = to_device(check::tiny_model()), here = check::tiny_model();
    TrainerParams params = small_params();
    params.loss = loss;
    const auto made = trained(there, params);
    const ops::ForcePlain force;
    check_close(made, trained(here, params), step_tolerance(at::kFloat));
  }
}

CHECK_CASE("device: every family's logits there are the plain ops'") {
  const std::string device = check::device_name();
  for (const char* family : {"llama-3.2", "llama-yarn", "mistral", "qwen2", "qwen3", "smollm3",
                             "gemma2", "gemma3", "phi3", "phi4-mini"}) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      Engine there, here;
      there.load(check::golden_path(std::string("families/") + family), dtype, device, Cancel());
      here.load(check::golden_path(std::string("families/") + family), dtype, "cpu", Cancel());
      CHECK(there.info().device == test_device().str() && here.info().device == "cpu");
      const Tokens sequence = tokens(12, 5);
      const auto made = there.logits(sequence);
      const ops::ForcePlain force;
      const auto expected = here.logits(sequence);
      CHECK_RELATIVE(at::tensor(made), at::tensor(expected), dtype == DType::float32 ? 1e-5 : 0.02);
    }
  }
}

CHECK_CASE(
    "device: an engine there trains, saves, resumes, snapshots and merges as one on the CPU") {
  const model_files::TemporaryFolder folder;
  const auto life = [&](const std::string& device) {
    std::vector<double> numbers;
    const auto add = [&](const StepMetrics& metrics) {
      numbers.insert(numbers.end(), {metrics.loss, metrics.grad_norm});
    };
    const auto add_scores = [&](Engine& engine) {
      for (const double sum : engine.score(request(), {}, Cancel()).sums) numbers.push_back(sum);
    };
    Engine engine;
    engine.load(check::golden_path("tiny-gqa-untied"), DType::float32, device, Cancel());
    uint64_t trainer = engine.start_trainer(small_params());
    add(engine.preference_step(trainer, pairs(), Cancel()));
    engine.save_trainer_state(trainer, folder.file(device + ".state"));
    add(engine.sft_step(trainer, examples(), Cancel()));
    engine.load_trainer_state(trainer, {folder.file(device + ".state")});
    add(engine.sft_step(trainer, examples(), Cancel()));
    engine.end_trainer(trainer);
    engine.save(folder.file(device), DType::float32, engine.info().config_json);
    add_scores(engine);

    // In bfloat16 from the saved file, which provides the masters; then LoRA training, saving,
    // loading and merging.
    Engine small;
    small.load(folder.file(device), DType::bfloat16, device, Cancel());
    small.add_adapter({3, 6, 0.25, false, {}}, 7);
    trainer = small.start_trainer(small_params());
    for (int step = 0; step < 3; ++step) add(small.preference_step(trainer, pairs(), Cancel()));
    small.end_trainer(trainer);
    add_scores(small);
    small.save_adapter(folder.file(device + "-adapter"), DType::float32, "");
    small.load_adapter(folder.file(device + "-adapter"));
    {
      const std::shared_ptr<Engine> base = small.snapshot(/*adapter=*/false);
      add_scores(*base);
    }
    small.merge_adapter();
    add_scores(small);
    trainer = small.start_trainer(small_params());
    add(small.sft_step(trainer, examples(), Cancel()));
    return numbers;
  };
  const auto there = life(check::device_name());
  const ops::ForcePlain force;
  check_close(there, life("cpu"), 0.03);
}
