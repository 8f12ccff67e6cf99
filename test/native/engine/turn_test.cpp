// Models that a device cannot hold together: which of them have its memory, and that their results
// are those of models that fit.
#include <future>
#include <thread>

#include "completions.h"
#include "emulated_device.h"
#include "engine/engine.h"
#include "engine/plan.h"
#include "engine/shared_model.h"
#include "golden.h"
#include "model_files.h"
#include "test_device.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;

namespace {

at::Device device() { return check::to_device(at::zeros({1})).device(); }
uint64_t there() { return live_weight_bytes(device()); }

// A loaded model; its worker runs what it is asked, as for the addon.
class Loaded {
 public:
  explicit Loaded(const std::string& family = "families/llama-3.2") {
    const uint64_t before = live_weight_bytes();
    run([&] {
      engine.load(check::golden_path(family), DType::float32, check::device_name(), Cancel());
    });
    bytes = live_weight_bytes() - before;
  }

  void run(const std::function<void()>& work) { start(work).get(); }
  std::future<void> start(std::function<void()> work) {
    auto ended = std::make_shared<std::promise<void>>();
    engine.post(std::move(work), [ended](const Error* error) {
      error == nullptr ? ended->set_value() : ended->set_exception(std::make_exception_ptr(*error));
    });
    return ended->get_future();
  }
  std::vector<double> scores() {
    std::vector<double> sums;
    run([&] { sums = engine.score(scoring(), {}, Cancel()).sums; });
    return sums;
  }

  static ScoringRequest scoring() {
    ScoringRequest request;
    request.groups.push_back({{1, 2, 3}, {{4, 5}, {6, 7, 8}}});
    request.max_num_batched_tokens = 1024;
    return request;
  }

  Engine engine;
  uint64_t bytes = 0;
};

// A device whose memory is `weights` and the least that the model's plan of a stage takes besides
// weights.
uint64_t memory_for(Engine& engine, PlanStage stage, uint64_t weights) {
  PlanRequest request;
  request.config = engine.info().config;
  request.dtype = DType::float32;
  request.stage = stage;
  request.max_num_batched_tokens = 1024;
  request.prompt_tokens = 16, request.new_tokens = 64, request.samples = 4;
  request.device_bytes = 1;
  uint64_t parts = 0;
  for (const PlanPart& part : plan_memory(request).parts)
    if (part.name != "weights" && part.name != "reserve") parts += part.bytes;
  return (parts + weights) * 32 / 31 + 32;
}

GenerationRequest sampling() { return check::ragged_request({{3, 5}, 4, 8, 64}); }

std::vector<Tokens> sampled(Engine& engine) {
  std::vector<Tokens> tokens;
  for (const GeneratedCompletion& one :
       check::completions([&](const GenerationCallbacks& callbacks) {
         check::generated(engine, sampling(), callbacks).get();
       }))
    tokens.push_back(one.tokens);
  return tokens;
}

}  // namespace

CHECK_CASE("turns: models that do not fit together each have the device while they score") {
  const uint64_t before = there(), host = live_weight_bytes(at::kCPU);
  {
    Loaded first, second("families/qwen2");
    const std::vector<double> of_first = first.scores(), of_second = second.scores();
    CHECK(there() == before + first.bytes + second.bytes);  // its memory is not known
    for (int turn = 0; turn < 2; ++turn) {
      {
        const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::score, first.bytes));
        CHECK(first.scores() == of_first && there() == before + first.bytes);
        CHECK(live_weight_bytes(at::kCPU) == host + second.bytes);
      }
      const check::EmulatedMemory memory(memory_for(second.engine, PlanStage::score, second.bytes));
      CHECK(second.scores() == of_second && there() == before + second.bytes);
      CHECK(live_weight_bytes(at::kCPU) == host + first.bytes);
    }
  }
  CHECK(there() == before && live_weight_bytes(at::kCPU) == host);
}

CHECK_CASE("turns: the model that was used least recently leaves, and none where all fit") {
  const uint64_t before = there();
  Loaded first, second, third;
  const uint64_t one = first.bytes;
  const std::vector<double> expected = first.scores();
  {
    const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::score, 3 * one));
    for (Loaded* model : {&first, &second, &third}) CHECK(model->scores() == expected);
    CHECK(there() == before + 3 * one);
  }
  const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::score, 2 * one));
  second.scores();  // third was used last
  CHECK(there() == before + 2 * one);
  third.scores();
  CHECK(there() == before + 2 * one);  // it was there
  CHECK(first.scores() == expected && there() == before + 2 * one);
  third.scores();  // second has left
  CHECK(there() == before + 2 * one);
}

CHECK_CASE("turns: a model to be loaded has the room before it is read") {
  const uint64_t before = there();
  Loaded first;
  const check::EmulatedMemory memory((unplanned_bytes(0) + first.bytes * 3 / 2) * 32 / 31);
  Loaded second;
  CHECK(second.bytes == first.bytes && there() == before + second.bytes);
}

CHECK_CASE("turns: a model samples as many sequences as alone, and keeps others that are no bar") {
  const uint64_t before = there();
  Loaded first, second;
  const std::vector<Tokens> expected = sampled(first.engine);
  {
    const check::EmulatedMemory memory(uint64_t{8} << 30);
    CHECK(sampled(first.engine) == expected && there() == before + 2 * first.bytes);
  }
  const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::sample, first.bytes));
  CHECK(sampled(first.engine) == expected && there() == before + first.bytes);
}

CHECK_CASE("turns: a model that is trained or shared stays where it is") {
  const uint64_t before = there();
  Loaded first, second;
  const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::score, first.bytes));
  uint64_t trainer = 0;
  second.run([&] { trainer = second.engine.start_trainer(check::trainer_params()); });
  CHECK(there() == before + second.bytes);  // training asks for room, too
  first.scores();
  CHECK(there() == before + 2 * first.bytes);
  second.run([&] { second.engine.end_trainer(trainer); });
  {
    const std::shared_ptr<Engine> snapshot = second.engine.snapshot();
    second.run([] {});
    first.scores();
    CHECK(there() == before + 2 * first.bytes);
  }
  first.scores();
  CHECK(there() == before + first.bytes);
}

CHECK_CASE("turns: models that compute at the same time end, with the results of each alone") {
  Loaded first, second, third;
  const std::vector<double> expected = first.scores();
  const std::vector<Tokens> drawn = sampled(first.engine);
  const check::EmulatedMemory memory(memory_for(first.engine, PlanStage::score, first.bytes));
  std::vector<std::future<bool>> right;
  for (Loaded* model : {&first, &second, &third})
    right.push_back(std::async(std::launch::async, [&, model] {
      bool all = true;
      for (int turn = 0; turn < 20; ++turn)
        all = all && model->scores() == expected && sampled(model->engine) == drawn;
      return all;
    }));
  for (std::future<bool>& one : right) CHECK(one.get());
}
