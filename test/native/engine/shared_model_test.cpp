#include "engine/shared_model.h"

#include "adapted.h"
#include "engine/engine.h"
#include "golden.h"
#include "model_files.h"
#include "score/scorer.h"
#include "support/file.h"
#include "support/transient.h"
#include "test_device.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;

CHECK_CASE("lora: snapshots share the base, count it once, and copy the adapter alone") {
  const uint64_t before = live_weight_bytes();
  {
    const auto base = std::make_shared<SharedModel>(check::tiny_model());
    const uint64_t base_bytes = live_weight_bytes() - before;
    const LoraParams params = resolve_lora(base->transformer.config(), {3, 6, 0, false, {}});
    const auto first =
        base->with_adapter(params, new_adapter(base->transformer.config(), params, 1));
    const uint64_t adapter_bytes = live_weight_bytes() - before - base_bytes;
    CHECK(adapter_bytes > 0 && adapter_bytes < base_bytes / 2);
    const auto second = first->copy_adapter();
    CHECK(live_weight_bytes() - before == base_bytes + 2 * adapter_bytes);
    const auto storage = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.weight.const_data_ptr();
    };
    const auto down = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.adapters[0].down.weight.const_data_ptr();
    };
    CHECK(storage(first) == storage(base) && storage(second) == storage(base) &&
          down(first) != down(second));
    CHECK(base->shares_base() && !first->without_adapter()->lora());
    const auto apart = second->copy();
    CHECK(storage(apart) != storage(base) && !apart->shares_base() && apart->lora());
    CHECK(at::equal(sequence_logits(apart->transformer, check::tiny_tokens(5, 1)),
                    sequence_logits(first->transformer, check::tiny_tokens(5, 1))));
  }
  CHECK(live_weight_bytes() == before);
}

CHECK_CASE("engine: offloaded weights are in the host's memory until they are used") {
  const at::Device device = check::to_device(at::zeros({1})).device();
  const uint64_t there = live_weight_bytes(device), here = live_weight_bytes(at::kCPU);
  {
    SharedModel model(check::to_device(check::tiny_model()));
    const uint64_t bytes = live_weight_bytes(device) - there;
    const Tensor before = sequence_logits(model.transformer, check::tiny_tokens(5, 1)).cpu();
    for (int turn = 0; turn < 2; ++turn) {
      model.offload();
      model.offload();
      for (const auto& [name, weight] :
           model.transformer.weights().parameters(model.transformer.config()))
        CHECK(!has_memory(*weight));
      CHECK(live_weight_bytes(device) == there && live_weight_bytes(at::kCPU) == here + bytes);
      model.restore();
      CHECK(live_weight_bytes(device) == there + bytes && live_weight_bytes(at::kCPU) == here);
      CHECK(at::equal(sequence_logits(model.transformer, check::tiny_tokens(5, 1)).cpu(), before));
    }
    // Changed weights are copied anew.
    model.forget_host_copy();
    model.transformer.weights().final_norm.mul_(2);
    const Tensor changed = sequence_logits(model.transformer, check::tiny_tokens(5, 1)).cpu();
    CHECK(!at::equal(changed, before));
    model.offload();
    model.restore();
    CHECK(at::equal(sequence_logits(model.transformer, check::tiny_tokens(5, 1)).cpu(), changed));
  }
  CHECK(live_weight_bytes(device) == there && live_weight_bytes(at::kCPU) == here);
}

CHECK_CASE("engine: a model that was offloaded scores, is trained and shared as before") {
  const std::string folder = check::golden_path("families/llama-3.2");
  Engine engine;
  engine.load(folder, DType::float32, check::device_name(), Cancel());
  const at::Device device = check::to_device(at::zeros({1})).device();
  const uint64_t whole = live_weight_bytes(device);
  const Tokens tokens{1, 2, 3};
  const std::vector<float> before = engine.logits(tokens);
  engine.offload();
  CHECK(live_weight_bytes(device) < whole);
  CHECK(engine.logits(tokens) == before && live_weight_bytes(device) == whole);
  engine.offload();
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 1e-2;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 2;
  const uint64_t trainer = engine.start_trainer(params);
  engine.offload();  // does nothing while a trainer lives
  CHECK(live_weight_bytes(device) == whole);
  engine.sft_step(trainer, {{{1, 2}, {3}}}, Cancel());
  engine.end_trainer(trainer);
  const std::vector<float> trained = engine.logits(tokens);
  CHECK(trained != before);
  engine.offload();
  CHECK(engine.logits(tokens) == trained);
}

CHECK_CASE("engine: kept master weights are saved and trained from as those of a live trainer") {
  const model_files::TemporaryFolder folder;
  const auto weights = [&](const std::string& name) {
    return read_file(folder.file(name) + "/model.safetensors", 1 << 24);
  };
  const SftExample example{{1, 2, 3}, {4, 5, 6}};
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 1e-3;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 4;
  for (const bool split : {false, true}) {
    params.optimizer.forms.split_masters = split;
    Engine engine;
    engine.load(check::golden_path("tiny-gqa-untied"), DType::bfloat16, check::device_name(),
                Cancel());
    const auto save = [&](Engine& from, const std::string& name, DType dtype) {
      return from.save(folder.file(name), dtype, engine.info().config_json);
    };
    const auto train = [&](Engine& trained) {
      const uint64_t trainer = trained.start_trainer(params);
      trained.sft_step(trainer, {example}, Cancel());
      trained.sft_step(trainer, {example}, Cancel());
      return trainer;
    };
    uint64_t trainer = train(engine);
    save(engine, "live", DType::float32);
    save(engine, "live-rounded", DType::bfloat16);
    engine.end_trainer(trainer, /*keep_masters=*/true);
    save(engine, "kept", DType::float32);
    save(engine, "kept-rounded", DType::bfloat16);
    CHECK(weights("kept") == weights("live") && weights("kept-rounded") == weights("live-rounded"));
    const std::shared_ptr<Engine> snapshot = engine.snapshot();
    save(*snapshot, "snapshot", DType::float32);  // waits until the snapshot is made
    CHECK(weights("snapshot") == weights("live"));

    // The next trainer starts from them, as from the checkpoint, and leaves the snapshot's alone.
    Engine loaded;
    loaded.load(folder.file("live"), DType::bfloat16, check::device_name(), Cancel());
    for (Engine* const one : {&engine, &loaded}) {
      trainer = train(*one);
      save(*one, one == &engine ? "next" : "next-loaded", DType::float32);
      one->end_trainer(trainer, /*keep_masters=*/one == &engine);
    }
    CHECK(weights("next") == weights("next-loaded") && weights("next") != weights("live"));
    save(*snapshot, "snapshot", DType::float32);
    CHECK(weights("snapshot") == weights("live"));
    // A trainer that takes no step loses nothing.
    engine.end_trainer(engine.start_trainer(params));
    save(engine, "idle", DType::float32);
    CHECK(weights("idle") == weights("next"));
  }
}
