#include "adapted.h"
#include "engine/engine.h"
#include "golden.h"
#include "rank_training.h"
#include "ranks.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;
using namespace rank_training;

namespace {

// A trainer of all ranks beside one of this process alone, on equal models.
struct Both {
  Transformer shared_model, own_model;
  Trainer shared, own;

  Both(Ranks& ranks, Transformer model, Transformer same, const TrainerParams& params)
      : shared_model(std::move(model)),
        own_model(std::move(same)),
        shared(shared_model, params, {}, ranks.group(), kBucket),
        own(own_model, params, {}) {}
};

Tensor whole_moment(Trainer& trainer, const OptimizerEntry& entry) {
  return trainer.optimizer().whole(entry, entry.m, entry.parameter.sizes());
}

void same_metrics(const StepMetrics& a, const StepMetrics& b, double tolerance) {
  CHECK(a.tokens == b.tokens && a.step == b.step);
  for (const auto& [left, right] : {std::pair{a.loss, b.loss},
                                    {a.grad_norm, b.grad_norm},
                                    {a.reward_margin, b.reward_margin},
                                    {a.reward_accuracy, b.reward_accuracy},
                                    {a.logp_chosen, b.logp_chosen}})
    CHECK(std::abs(left - right) <= tolerance * std::abs(right) + 1e-12);
}

// m = (1 − β1)·g after the first step.
void same_gradients(Both& both, double tolerance) {
  for (const OptimizerEntry& entry : both.shared.optimizer().entries())
    CHECK_RELATIVE(whole_moment(both.shared, entry), both.own.optimizer().entry(entry.name).m,
                   tolerance);
}

// Weights are the same bits on every rank.
void same_on_all(Ranks& ranks, Transformer& model) {
  for (const auto& [name, weight] : model.weights().parameters(model.config())) {
    const Tensor bytes = weight->contiguous().view({-1}).view(at::kByte);
    const Tensor all = at::empty({ranks.group().size(), bytes.numel()}, at::kByte);
    ranks.group().all_gather(all.view({-1}), bytes)();
    for (int64_t rank = 0; rank < all.size(0); ++rank) CHECK(at::equal(all[rank], bytes));
  }
}

void compare_steps(Ranks& ranks, bool tied, bool reduce_per_step) {
  const check::TinyShape shape{2, tied};
  TrainerParams params = rank_params();
  params.reduce_per_step = reduce_per_step;
  Both both(ranks, check::tiny_model(shape), check::tiny_model(shape), params);
  same_metrics(both.shared.preference_step(pairs_of(4), Cancel()),
               both.own.preference_step(pairs_of(4), Cancel()), 1e-6);
  same_gradients(both, 1e-6);
  same_on_all(ranks, both.shared_model);
  same_metrics(both.shared.sft_step(examples_of(), Cancel()),
               both.own.sft_step(examples_of(), Cancel()), 1e-4);
  // Fewer items than ranks.
  same_metrics(both.shared.preference_step(pairs_of(1), Cancel()),
               both.own.preference_step(pairs_of(1), Cancel()), 1e-4);
  same_on_all(ranks, both.shared_model);
}

void steps_as_one_process(Ranks& ranks) {
  for (const bool tied : {true, false})
    for (const bool reduce_per_step : {false, true}) compare_steps(ranks, tied, reduce_per_step);
}

}  // namespace

CHECK_CASE("parallel: two ranks step as one process does") {
  check::on_ranks("parallel: two ranks step as one process does", 2, steps_as_one_process);
}

CHECK_CASE("parallel: four ranks step as one process does") {
  check::on_ranks("parallel: four ranks step as one process does", 4, steps_as_one_process);
}

CHECK_CASE("parallel: two ranks keep half of the states each, in every form") {
  check::on_ranks(
      "parallel: two ranks keep half of the states each, in every form", 2, [](Ranks& ranks) {
        for (const OptimizerForms& forms : std::vector<OptimizerForms>{
                 {}, {true, false, false}, {false, true, false}, {true, true, true}}) {
          check::TinyShape shape;
          shape.dtype = at::kBFloat16;
          Both both(ranks, check::tiny_model(shape), check::tiny_model(shape), rank_params(forms));
          for (int step = 0; step < 2; ++step)
            same_metrics(both.shared.preference_step(pairs_of(4), Cancel()),
                         both.own.preference_step(pairs_of(4), Cancel()), 2e-2);
          same_on_all(ranks, both.shared_model);
          int64_t states = 0, all = 0;
          for (const OptimizerEntry& entry : both.shared.optimizer().entries()) {
            states += entry.m.numel();
            all += entry.parameter.numel();
          }
          const Tensor sum = at::full({1}, static_cast<double>(states), at::kDouble);
          ranks.group().all_reduce(sum)();
          CHECK(sum.item<double>() == static_cast<double>(all));
          CHECK(std::abs(2 * states - all) < all / 10);
        }
      });
}

CHECK_CASE("parallel: a rank keeps its shard of gradients and states") {
  check::on_ranks("parallel: a rank keeps its shard of gradients and states", 2, [](Ranks& ranks) {
    Both both(ranks, check::tiny_model(), check::tiny_model(), rank_params());
    const uint64_t whole = both.own.bytes();
    for (int step = 0; step < 2; ++step) {
      both.shared.preference_step(pairs_of(4), Cancel());
      // A shard consists of whole blocks, so small parameters are on one rank.
      CHECK(both.shared.bytes() < whole * 6 / 10);
      for (const OptimizerEntry& entry : both.shared.optimizer().entries())
        CHECK(entry.padded.storage().nbytes() == 0 && !entry.sent);
    }
  });
}

CHECK_CASE("parallel: a step that failed on one rank leaves no gradient behind") {
  check::on_ranks("parallel: a step that failed on one rank leaves no gradient behind", 2,
                  [](Ranks& ranks) {
                    TrainerParams params = rank_params();
                    params.loss.kind = LossKind::ipo;  // squares the difference
                    Both both(ranks, check::tiny_model(), check::tiny_model(), params);
                    for (const size_t wrong : {0, 1, 2, 3}) {
                      auto pairs = pairs_of(4);
                      pairs[wrong].reference_chosen = -1e300;
                      bool failed = false;
                      try {
                        both.shared.preference_step(pairs, Cancel());
                      } catch (const Error&) {
                        failed = true;
                      }
                      CHECK(failed);
                    }
                    same_metrics(both.shared.preference_step(pairs_of(4), Cancel()),
                                 both.own.preference_step(pairs_of(4), Cancel()), 1e-6);
                    same_gradients(both, 1e-6);
                  });
}

CHECK_CASE("parallel: ranks keep an adapter whole and step as one process does") {
  check::on_ranks("parallel: ranks keep an adapter whole and step as one process does", 2,
                  [](Ranks& ranks) {
                    const auto adapted = [] { return check::adapted().model; };
                    Both both(ranks, adapted(), adapted(), rank_params());
                    same_metrics(both.shared.preference_step(pairs_of(4), Cancel()),
                                 both.own.preference_step(pairs_of(4), Cancel()), 1e-6);
                    for (const OptimizerEntry& entry : both.shared.optimizer().entries()) {
                      CHECK(entry.m.sizes() == entry.parameter.sizes());
                      CHECK_RELATIVE(entry.m, both.own.optimizer().entry(entry.name).m, 1e-6);
                    }
                  });
}

CHECK_CASE("parallel: a state of two ranks goes on with two and with one") {
  check::on_ranks(
      "parallel: a state of two ranks goes on with two and with one", 2, [](Ranks& ranks) {
        const std::string path = check::shared_file("state");
        const auto step = [](Trainer& trainer) {
          return trainer.preference_step(pairs_of(4), Cancel());
        };
        for (const OptimizerForms& forms : std::vector<OptimizerForms>{{}, {true, true, true}}) {
          check::TinyShape shape;
          if (forms.split_masters) shape.dtype = at::kBFloat16;
          Both first(ranks, check::tiny_model(shape), check::tiny_model(shape), rank_params(forms));
          step(first.shared);
          const std::vector<std::string> paths = {path + ".1", path + ".2"};
          first.shared.save_state(paths[ranks.place().rank]);
          ranks.group().all_reduce(at::zeros({1}))();  // the file is there
          Both next(ranks, check::tiny_model(shape, 2), check::tiny_model(shape, 3),
                    rank_params(forms));
          next.shared.load_state(paths);
          next.own.load_state(paths);
          const StepMetrics expected = step(first.shared), found = step(next.shared);
          CHECK(found.loss == expected.loss && found.grad_norm == expected.grad_norm);
          CHECK(found.step == 2);
          same_metrics(step(next.own), expected, forms.split_masters ? 2e-2 : 1e-5);
          for (const OptimizerEntry& entry : first.shared.optimizer().entries()) {
            const OptimizerEntry& other = next.shared.optimizer().entry(entry.name);
            CHECK(at::equal(entry.weight, other.weight) && at::equal(entry.m, other.m));
          }
          // The masters are gathered on rank 0.
          CHECK(first.shared.masters().size() ==
                (ranks.place().rank == 0 ? first.shared.optimizer().entries().size() : 0));
          ranks.group().all_reduce(at::zeros({1}))();
          // The state of one process, on two ranks.
          next.own.save_state(path + ".0");
          next.shared.load_state({path + ".0"});
          same_metrics(step(next.shared), step(next.own), forms.split_masters ? 2e-2 : 1e-5);
          CHECK_THROWS(invalid_file, "it is shard 2 of 2, not 1 of 2",
                       next.own.load_state({paths[1], paths[0]}));
          CHECK_THROWS(invalid_file, "it is shard 1 of 2, not 1 of 1",
                       next.own.load_state({paths[0]}));
          ranks.group().all_reduce(at::zeros({1}))();  // before the next forms' files
        }
      });
}

CHECK_CASE("parallel: a loss that is not finite on one rank stops the step on all") {
  check::on_ranks("parallel: a loss that is not finite on one rank stops the step on all", 2,
                  [](Ranks& ranks) {
                    TrainerParams params = rank_params();
                    params.loss.beta = 1e306;
                    Both both(ranks, check::tiny_model(), check::tiny_model(), params);
                    const Tensor before = both.shared_model.weights().embedding.weight.clone();
                    auto pairs = pairs_of(2);
                    pairs[0].reference_chosen = -1e4;  // times β: more than a double holds
                    int failed = 0;
                    try {
                      both.shared.preference_step(pairs, Cancel());
                    } catch (const Error& error) {
                      failed = error.code() == ErrorCode::non_finite ? 1 : 2;
                    }
                    CHECK(failed != 0);
                    const Tensor codes = at::full({1}, failed, at::kDouble);
                    ranks.group().all_reduce(codes)();
                    CHECK(codes.item<double>() == 3);  // one says why, the other that there is one
                    CHECK(at::equal(before, both.shared_model.weights().embedding.weight));
                    CHECK(both.shared.optimizer().step_count() == 0);
                  });
}

CHECK_CASE("parallel: ranks with unequal memory make equally many passes") {
  check::on_ranks(
      "parallel: ranks with unequal memory make equally many passes", 2, [](Ranks& ranks) {
        const auto loss_of = [](int64_t micro_batch_tokens) {
          Engine engine;
          engine.load(check::golden_path("families/llama-3.2"), DType::float32, "cpu", Cancel());
          TrainerParams params = rank_params();
          params.micro_batch_tokens = micro_batch_tokens;
          const uint64_t trainer = engine.start_trainer(params);
          const SftExample example{{1, 2, 3, 4, 5, 6}, {7, 8, 9}};
          return engine.sft_step(trainer, {example, example, example, example}, Cancel()).loss;
        };
        const double expected = loss_of(10);  // an example each
        CHECK(loss_of(ranks.place().rank == 0 ? 10 : 1000) == expected);
      });
}
