#include "train/trainer.h"

#include "loss/preference.h"
#include "ops/dispatch.h"
#include "training.h"

#include "fast_ops.h"

using namespace cream;
using namespace training;

CHECK_CASE("train: a pair's z_0 and its numbers of tokens reach the loss") {
  Transformer model = check::tiny_model();
  std::vector<PreferencePair> pairs = pairs_for(model, 0.8);
  for (PreferencePair& pair : pairs) pair.reference_chosen += 0.7, pair.kl_baseline = 0.4;
  for (const PreferenceLoss& loss : check::all_losses(0.5)) {
    Transformer trained = check::tiny_model();
    TrainerParams params = params_of(1e-3);
    params.loss = loss;
    Trainer trainer(trained, params, {});
    double expected = 0;
    for (const PreferencePair& pair : pairs) {
      ScoringRequest request;
      request.groups.push_back({pair.prompt, {pair.chosen, pair.rejected}});
      const auto sums = score(model, request, {}, Cancel()).sums;
      expected += preference_term({sums[0], sums[1], pair.reference_chosen, pair.reference_rejected,
                                   static_cast<double>(pair.chosen.size()),
                                   static_cast<double>(pair.rejected.size()), 0.8, 0.4},
                                  loss)
                      .loss /
                  static_cast<double>(pairs.size());
    }
    CHECK(std::abs(trainer.preference_step(pairs, Cancel()).loss - expected) <= 1e-5);
  }
}

CHECK_CASE("train: checkpointing and the cut of micro-batches change nothing but rounding") {
  Transformer reference_model = check::tiny_model();
  const auto pairs = pairs_for(reference_model, 0.9);
  Trainer reference(reference_model, params_of(1e-3), {});
  const StepMetrics expected = reference.preference_step(pairs, Cancel());
  for (const int64_t micro_batch_tokens : {1, 30, 2048}) {
    for (const bool checkpointing : {true, false}) {
      Transformer model = check::tiny_model();
      Trainer trainer(model, params_of(1e-3, micro_batch_tokens, checkpointing), {});
      const StepMetrics metrics = trainer.preference_step(pairs, Cancel());
      CHECK(std::abs(metrics.loss - expected.loss) <= 1e-6 &&
            std::abs(metrics.grad_norm - expected.grad_norm) <= 1e-5 * expected.grad_norm);
      CHECK(std::abs(metrics.reward_margin - expected.reward_margin) <= 1e-5 &&
            metrics.tokens == expected.tokens);
      for (const OptimizerEntry& entry : reference.optimizer().entries())
        CHECK_RELATIVE(trainer.optimizer().entry(entry.name).m, entry.m, 1e-4);
      if (micro_batch_tokens == 2048 && checkpointing)
        check_same_weights(model, reference_model);  // both trained on the same steps
    }
  }
}

CHECK_CASE(
    "train: C = 1 lowers the loss and grows the margin, C = 0 does the reverse, C = 1/2 starts at "
    "rest") {
  for (const double consistency : {1.0, 0.0}) {
    Transformer model = check::tiny_model();
    const auto pairs = pairs_for(model, consistency);
    Trainer trainer(model, params_of(1e-3), {});
    const StepMetrics first = trainer.preference_step(pairs, Cancel());
    CHECK(std::abs(first.loss - std::log(2.0)) < 1e-5 && std::abs(first.reward_margin) < 1e-5);
    StepMetrics last;
    for (int i = 0; i < 20; ++i) last = trainer.preference_step(pairs, Cancel());
    CHECK(last.loss < first.loss - 0.1);
    CHECK(consistency == 1.0 ? last.reward_margin > 0.1 && last.reward_accuracy == 1
                             : last.reward_margin < -0.1 && last.reward_accuracy == 0);
    CHECK(last.step == 21);
  }
  Transformer model = check::tiny_model();
  Trainer trainer(model, params_of(1e-3), {});
  CHECK(trainer.preference_step(pairs_for(model, 0.5), Cancel()).grad_norm < 1e-5);
}

CHECK_CASE("train: clipping bounds the update by the global norm") {
  Transformer free_model = check::tiny_model(), clipped_model = check::tiny_model();
  TrainerParams params = params_of(1e-3);
  Trainer free(free_model, params, {});
  const double norm = free.sft_step(examples(), Cancel()).grad_norm;
  params.optimizer.max_grad_norm = norm / 4;
  Trainer clipped(clipped_model, params, {});
  CHECK(clipped.sft_step(examples(), Cancel()).grad_norm ==
        norm);  // the norm before clipping is reported
  for (const OptimizerEntry& entry : free.optimizer().entries())
    CHECK_RELATIVE(clipped.optimizer().entry(entry.name).m * 4, entry.m, 1e-5);
}

CHECK_CASE("train: NaN, impossible input and a cancelled step leave everything as it was") {
  Transformer model = check::tiny_model();
  Trainer trainer(model, params_of(1e-3, 16), {});
  const auto pairs = pairs_for(model, 1);
  const auto before = snapshot(model);

  Cancel cancelled;
  cancelled.request();
  CHECK_THROWS(aborted, "aborted", trainer.preference_step(pairs, cancelled));
  CHECK_THROWS(internal, "no pairs", trainer.preference_step({}, Cancel()));
  CHECK_THROWS(internal, "no examples", trainer.sft_step({}, Cancel()));
  auto wrong = pairs;
  wrong[2].rejected.clear();
  CHECK_THROWS(internal, "a sequence is empty", trainer.preference_step(wrong, Cancel()));
  wrong = pairs;
  wrong[1].chosen[0] = 96;
  CHECK_THROWS(internal, "outside the vocabulary", trainer.preference_step(wrong, Cancel()));
  wrong = pairs;
  wrong[3].weight = 1.5;
  CHECK_THROWS(internal, "weight of a pair", trainer.preference_step(wrong, Cancel()));
  wrong[3].weight = 1;
  wrong[3].reference_chosen = std::nan("");
  CHECK_THROWS(internal, "log-prob of a pair", trainer.preference_step(wrong, Cancel()));
  wrong = pairs;
  wrong[0].prompt = check::tiny_tokens(64, 1);
  CHECK_THROWS(invalid_argument, "prompt of pair 0", trainer.preference_step(wrong, Cancel()));

  const float kept = model.weights().final_norm[3].item<float>();
  model.weights().final_norm[3].fill_(std::nan(""));
  CHECK_THROWS(non_finite, "loss of pair 0 is not finite in step 1",
               trainer.preference_step(pairs, Cancel()));
  model.weights().final_norm[3].fill_(kept);

  const auto after = snapshot(model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
  CHECK(trainer.optimizer().step_count() == 0);
  for (const OptimizerEntry& entry : trainer.optimizer().entries())
    CHECK(entry.gradient.abs().sum().item<double>() == 0 &&
          entry.m.abs().sum().item<double>() == 0);

  // The next step equals that of a trainer without the failed one.
  Transformer fresh_model = check::tiny_model();
  Trainer fresh(fresh_model, params_of(1e-3, 16), {});
  CHECK(trainer.preference_step(pairs, Cancel()).loss ==
        fresh.preference_step(pairs, Cancel()).loss);
  check_same_weights(model, fresh_model);
}

CHECK_CASE("train: bf16 follows fp32's loss curve, and the model scores with the trained weights") {
  check::TinyShape shape;
  Transformer exact = check::tiny_model(shape);
  shape.dtype = at::kBFloat16;
  Transformer rounded = check::tiny_model(shape);
  const auto pairs = pairs_for(exact, 1);
  std::vector<NamedTensor> masters;  // fp32 values from which the bf16 weights were rounded
  for (auto& [name, tensor] : exact.weights().parameters(exact.config()))
    masters.emplace_back(name, tensor->clone());
  Trainer exact_trainer(exact, params_of(5e-4), {}),
      rounded_trainer(rounded, params_of(5e-4), masters);
  StepMetrics a, b;
  for (int i = 0; i < 20; ++i) {
    a = exact_trainer.preference_step(pairs, Cancel());
    b = rounded_trainer.preference_step(pairs, Cancel());
    CHECK(std::abs(a.loss - b.loss) <= 0.05);
  }
  CHECK(b.loss < 0.6 && std::abs(a.reward_margin - b.reward_margin) <= 0.2 * a.reward_margin);

  // Packed copies of the weights, where they exist, match the last step.
  ScoringRequest request;
  request.groups.push_back({pairs[3].prompt, {pairs[3].chosen}});
  const double fast = score(rounded, request, {}, Cancel()).sums[0];
  const ops::ForcePlain force;
  CHECK(std::abs(fast - score(rounded, request, {}, Cancel()).sums[0]) <= 0.3);
  CHECK(fast > pairs[3].reference_chosen - 5);
}

// The first step's metrics, against the reference scores.
CHECK_LEVELS(
    "train: in bf16 the first step's log-probs are the scorer's bit for bit, so the margin starts "
    "at exactly 0") {
  for (check::TinyShape shape : check::tiny_shapes())
    for (const bool checkpointing : {false, true}) {
      shape.dtype = at::kBFloat16;
      Transformer model = check::tiny_model(shape);
      const auto pairs = pairs_for(model, 1);
      {
        Transformer copy = check::tiny_model(shape);
        const StepMetrics all =
            Trainer(copy, params_of(1e-3, 40, checkpointing), {}).preference_step(pairs, Cancel());
        CHECK(all.reward_margin == 0 && all.reward_chosen == 0 && all.reward_rejected == 0);
      }
      for (const PreferencePair& pair : pairs) {
        Transformer copy = check::tiny_model(shape);
        const StepMetrics one =
            Trainer(copy, params_of(1e-3, 40, checkpointing), {}).preference_step({pair}, Cancel());
        CHECK(one.logp_chosen == pair.reference_chosen &&
              one.logp_rejected == pair.reference_rejected);
      }
    }
}
