// Trainer states: exact resumption, and refusal of states that do not fit.
#include <limits>

#include "model_files.h"
#include "training.h"

using namespace cream;
using namespace training;
using model_files::TemporaryFolder;

CHECK_CASE("train: a state saved and loaded continues bit for bit") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    check::TinyShape shape;
    shape.dtype = dtype;
    TrainerParams params = params_of(1e-3);
    params.optimizer.schedule = Schedule::cosine;
    params.optimizer.total_steps = 6;
    Transformer straight = check::tiny_model(shape), half = check::tiny_model(shape),
                resumed = check::tiny_model(shape, 2);
    const auto pairs = pairs_for(straight, 0.9);
    Trainer straight_trainer(straight, params, {});
    const TemporaryFolder folder;
    const std::string path = folder.file("state");
    {
      Trainer trainer(half, params, {});
      for (int i = 0; i < 3; ++i) trainer.preference_step(pairs, Cancel());
      trainer.save_state(path);
    }
    Trainer resumed_trainer(resumed, params,
                            {});  // over other weights: the state includes the weights
    resumed_trainer.load_state({path});
    CHECK(resumed_trainer.optimizer().step_count() == 3);
    check_same_weights(resumed, half);
    StepMetrics a, b;
    for (int i = 0; i < 6; ++i) a = straight_trainer.preference_step(pairs, Cancel());
    for (int i = 0; i < 3; ++i) b = resumed_trainer.preference_step(pairs, Cancel());
    CHECK(a.loss == b.loss && a.grad_norm == b.grad_norm && a.learning_rate == b.learning_rate &&
          a.step == b.step);
    check_same_weights(straight, resumed);
    for (const OptimizerEntry& entry : straight_trainer.optimizer().entries()) {
      const OptimizerEntry& other = resumed_trainer.optimizer().entry(entry.name);
      CHECK(at::equal(entry.master, other.master) && at::equal(entry.m, other.m) &&
            at::equal(entry.v, other.v));
    }
  }
}

CHECK_CASE("train: a state of another model or of other settings is refused and changes nothing") {
  Transformer model = check::tiny_model();
  Trainer trainer(model, params_of(1e-3), {});
  trainer.sft_step(examples(), Cancel());
  const TemporaryFolder folder;
  const std::string path = folder.file("state"), bad = folder.file("bad");
  trainer.save_state(path);
  const auto before = snapshot(model);

  Transformer untied = check::tiny_model({2, false}), heads = check::tiny_model({4, true}),
              same = check::tiny_model();
  Trainer untied_trainer(untied, params_of(1e-3), {}), heads_trainer(heads, params_of(1e-3), {}),
      other(same, params_of(2e-3), {});
  CHECK_THROWS(invalid_file, "tensors, not", untied_trainer.load_state({path}));
  CHECK_THROWS(invalid_file, "has another shape", heads_trainer.load_state({path}));
  CHECK_THROWS(invalid_argument, "learning_rate 0.001, this trainer has 0.002",
               other.load_state({path}));
  CHECK_THROWS(not_found, "", trainer.load_state({path + ".none"}));
  trainer.optimizer().entry("final_norm").m[0].fill_(std::nan(""));
  trainer.save_state(bad);
  CHECK_THROWS(invalid_file, "'m.final_norm' holds values that are not finite",
               trainer.load_state({bad}));
  trainer.load_state({path});
  trainer.optimizer().entry("final_norm").v[2].fill_(-1e-9);
  trainer.save_state(bad);
  CHECK_THROWS(invalid_file, "'v.final_norm' holds negative values", trainer.load_state({bad}));
  trainer.load_state({path});
  trainer.optimizer().set_step_count(std::numeric_limits<int64_t>::max());
  trainer.save_state(bad);
  CHECK_THROWS(invalid_file, "step count is not a number of steps", trainer.load_state({bad}));
  trainer.load_state({path});
  const auto after = snapshot(model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
}
