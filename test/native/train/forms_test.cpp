// Training with optimizer state in the forms that save memory: their loss of accuracy, and exact
// resumption.
#include <cstdio>

#include "model_files.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"

#include "check.h"

using namespace cream;

namespace {

TrainerParams params_with(const OptimizerForms& forms) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 2e-3;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.forms = forms;
  params.micro_batch_tokens = 24;
  return params;
}

std::vector<SftExample> examples(uint64_t step) {
  std::vector<SftExample> all;
  for (uint64_t i = 0; i < 3; ++i)
    all.push_back({check::tiny_tokens(5, 7 * (step % 4) + i),
                   check::tiny_tokens(9, 100 + 7 * (step % 4) + i)});
  return all;
}

Transformer bf16_model() {
  check::TinyShape shape;
  shape.dtype = at::kBFloat16;
  return check::tiny_model(shape);
}

std::vector<double> losses(const OptimizerForms& forms, int steps) {
  Transformer model = bf16_model();
  Trainer trainer(model, params_with(forms), {});
  std::vector<double> out;
  for (int i = 0; i < steps; ++i)
    out.push_back(trainer.sft_step(examples(static_cast<uint64_t>(i)), Cancel()).loss);
  return out;
}

double furthest(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace

CHECK_CASE(
    "forms: sixty steps with 8-bit states, split masters and bf16 gradients follow fp32's loss") {
  const std::vector<double> exact = losses({}, 60), split = losses({false, true, false}, 60),
                            codes = losses({true, false, false}, 60),
                            all = losses({true, true, true}, 60);
  const double fall = exact.front() - exact.back();
  std::printf("  loss %.4f to %.4f; furthest from it: split %.5f, 8-bit %.4f, all %.4f\n",
              exact.front(), exact.back(), furthest(split, exact), furthest(codes, exact),
              furthest(all, exact));
  CHECK(fall > 1);
  CHECK(furthest(split, exact) <= 0.01 * fall);
  CHECK(furthest(codes, exact) <= 0.1 * fall);
  CHECK(furthest(all, exact) <= 0.1 * fall);
}

CHECK_CASE("forms: a state of each form resumes bit for bit and is refused under another") {
  const model_files::TemporaryFolder folder;
  const std::string path = folder.file("state");
  for (int i = 1; i < 8; ++i) {
    const OptimizerForms forms{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0};
    Transformer straight = bf16_model(), resumed = bf16_model(), other = bf16_model();
    Trainer a(straight, params_with(forms), {}), b(resumed, params_with(forms), {}),
        refuses(other, params_with({}), {});
    for (uint64_t step = 0; step < 3; ++step) a.sft_step(examples(step), Cancel());
    a.save_state(path);
    CHECK_THROWS(invalid_argument, "this trainer has float32", refuses.load_state({path}));
    b.load_state({path});
    for (uint64_t step = 3; step < 6; ++step)
      CHECK(a.sft_step(examples(step), Cancel()).loss == b.sft_step(examples(step), Cancel()).loss);
    const auto left = a.masters(), right = b.masters();
    for (size_t k = 0; k < left.size(); ++k) CHECK(at::equal(left[k].second, right[k].second));
  }
}
