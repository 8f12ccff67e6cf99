// Sharded weights (ZeRO's third stage) against whole ones on the same ranks: the same bits.
#include <algorithm>
#include <filesystem>

#include "adapted.h"
#include "engine/engine.h"
#include "golden.h"
#include "rank_training.h"
#include "ranks.h"
#include "score/scorer.h"
#include "support/transient.h"
#include "weights/load.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;
using namespace rank_training;

namespace {

TrainerParams params_of(bool checkpointing, OptimizerForms forms = {}) {
  TrainerParams params = rank_params(forms);
  params.activation_checkpointing = checkpointing;
  return params;
}

TrainerParams sharding(TrainerParams params) {
  params.shard_weights = true;
  return params;
}

// A trainer that shards the weights beside one that does not, on equal models.
struct Pair {
  Transformer whole_model, sharded_model;
  Trainer whole, sharded;

  Pair(Group& group, Transformer model, Transformer same, const TrainerParams& params)
      : whole_model(std::move(model)),
        sharded_model(std::move(same)),
        whole(whole_model, params, {}, group, kBucket),
        sharded(sharded_model, sharding(params), {}, group, kBucket) {}

  Tokens known(Tokens tokens) const {
    for (TokenId& token : tokens) token %= static_cast<TokenId>(whole_model.config().vocab_size);
    return tokens;
  }

  void step(std::vector<PreferencePair> pairs) {
    for (PreferencePair& pair : pairs)
      for (Tokens* tokens : {&pair.prompt, &pair.chosen, &pair.rejected}) *tokens = known(*tokens);
    const StepMetrics a = whole.preference_step(pairs, Cancel()),
                      b = sharded.preference_step(pairs, Cancel());
    CHECK(a.loss == b.loss && a.grad_norm == b.grad_norm && a.tokens == b.tokens);
    CHECK(a.reward_margin == b.reward_margin && a.logp_chosen == b.logp_chosen);
  }
};

bool equal_or_undefined(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() && (!a.defined() || at::equal(a, b));
}

// Every value that an optimizer keeps, and then the gathered weights with what they compute.
void same_bits(Pair& pair) {
  for (const OptimizerEntry& entry : pair.whole.optimizer().entries()) {
    const OptimizerEntry& other = pair.sharded.optimizer().entry(entry.name);
    CHECK(at::equal(entry.weight, other.weight));
    CHECK(equal_or_undefined(entry.master, other.master));
    CHECK(equal_or_undefined(entry.remainder, other.remainder));
    CHECK(at::equal(entry.m, other.m) && at::equal(entry.v, other.v));
  }
  CHECK(!pair.sharded.has_weights());
  pair.sharded.gather_weights();
  CHECK(pair.sharded.has_weights());
  auto left = pair.whole_model.weights().parameters(pair.whole_model.config()),
       right = pair.sharded_model.weights().parameters(pair.sharded_model.config());
  for (size_t i = 0; i < left.size(); ++i) CHECK(at::equal(*left[i].second, *right[i].second));
  ScoringRequest request;
  request.groups.push_back(
      {pair.known(check::tiny_tokens(5, 1)), {pair.known(check::tiny_tokens(9, 2))}});
  CHECK(score(pair.whole_model, request, {}, Cancel()).token_logprobs ==
        score(pair.sharded_model, request, {}, Cancel()).token_logprobs);
}

void steps_as_with_whole_weights(Ranks& ranks) {
  for (const bool tied : {true, false})
    for (const bool checkpointing : {false, true}) {
      const check::TinyShape shape{2, tied};
      Pair pair(ranks.group(), check::tiny_model(shape), check::tiny_model(shape),
                params_of(checkpointing));
      pair.step(pairs_of(4));
      same_bits(pair);
      const StepMetrics a = pair.whole.sft_step(examples_of(), Cancel()),
                        b = pair.sharded.sft_step(examples_of(), Cancel());
      CHECK(a.loss == b.loss && a.grad_norm == b.grad_norm);
      pair.step(pairs_of(1));  // fewer items than ranks
      same_bits(pair);
    }
}

// Counts the bytes of the model's weights, whole and sharded, whenever a gathering begins.
class Counting : public Group {
 public:
  explicit Counting(Group& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  Pending all_reduce(Tensor tensor) override { return inner_.all_reduce(tensor); }
  Pending reduce_scatter(Tensor shard, Tensor whole) override {
    return inner_.reduce_scatter(shard, whole);
  }
  Pending all_gather(Tensor whole, Tensor shard) override {
    return inner_.all_gather(whole, shard);
  }
  Pending all_gather(std::vector<Tensor> wholes, std::vector<Tensor> shards) override {
    int64_t bytes = 0;
    for (const auto& [name, weight] : model->weights().parameters(model->config()))
      bytes += static_cast<int64_t>(weight->storage().nbytes());
    most = std::max(most, bytes);
    calls += 1;
    return inner_.all_gather(std::move(wholes), std::move(shards));
  }
  Transformer* model = nullptr;
  int64_t most = 0, calls = 0;

 private:
  Group& inner_;
};

int64_t bytes_of(const Transformer& model, const std::function<bool(const std::string&)>& wanted) {
  Transformer copy = model;
  int64_t bytes = 0;
  for (const auto& [name, weight] : copy.weights().parameters(copy.config()))
    if (wanted(name)) bytes += static_cast<int64_t>(weight->nbytes());
  return bytes;
}

Transformer family(const std::string& name) {
  LoadedWeights loaded = load_weights(check::golden_path("families/" + name), at::kFloat);
  Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
  return Transformer(std::move(loaded.config), std::move(weights));
}

}  // namespace

CHECK_CASE("parallel: two ranks with sharded weights compute the bits of whole ones") {
  check::on_ranks("parallel: two ranks with sharded weights compute the bits of whole ones", 2,
                  steps_as_with_whole_weights);
}

CHECK_CASE("parallel: four ranks with sharded weights compute the bits of whole ones") {
  check::on_ranks("parallel: four ranks with sharded weights compute the bits of whole ones", 4,
                  steps_as_with_whole_weights);
}

CHECK_CASE("parallel: sharded weights in every form of the optimizer") {
  check::on_ranks("parallel: sharded weights in every form of the optimizer", 2, [](Ranks& ranks) {
    for (const OptimizerForms& forms : std::vector<OptimizerForms>{
             {}, {true, false, false}, {false, true, false}, {true, true, true}}) {
      check::TinyShape shape;
      shape.dtype = at::kBFloat16;
      Pair pair(ranks.group(), check::tiny_model(shape), check::tiny_model(shape),
                params_of(true, forms));
      for (int step = 0; step < 2; ++step) pair.step(pairs_of(4));
      same_bits(pair);
    }
  });
}

CHECK_CASE("parallel: sharded weights of every family") {
  check::on_ranks("parallel: sharded weights of every family", 2, [](Ranks& ranks) {
    size_t families = 0;
    for (const auto& entry : std::filesystem::directory_iterator(check::golden_path("families"))) {
      const std::string name = entry.path().filename().string();
      Pair pair(ranks.group(), family(name), family(name), params_of(families++ % 2 == 0));
      pair.step(pairs_of(3));
      same_bits(pair);
    }
    CHECK(families > 5);
  });
}

CHECK_CASE("parallel: a rank holds its share of the weights and at most two layers") {
  check::on_ranks(
      "parallel: a rank holds its share of the weights and at most two layers", 4,
      [](Ranks& ranks) {
        for (const bool checkpointing : {false, true}) {
          Transformer model = check::tiny_model({2, false});
          const auto in = [](const std::string& part) {
            return [part](const std::string& name) { return name.starts_with(part); };
          };
          const int64_t all = bytes_of(model, in("")), layer = bytes_of(model, in("layers.0.")),
                        head = bytes_of(model, in("head"));
          Counting group(ranks.group());
          group.model = &model;
          Trainer trainer(model, sharding(params_of(checkpointing)), {}, group, kBucket);
          int64_t memory = 0, own = 0;
          for (const auto& [name, weight] : model.weights().parameters(model.config()))
            memory += static_cast<int64_t>(weight->storage().nbytes());
          for (const OptimizerEntry& entry : trainer.optimizer().entries())
            own += static_cast<int64_t>(entry.weight.nbytes());
          CHECK(memory == 0);
          CHECK(own < all * 3 / 10);  // whole blocks of 256 elements
          trainer.preference_step(pairs_of(4), Cancel());
          // Eight parts a pass; whole storages are padded to the shards of all ranks.
          CHECK(group.calls >= 8);
          const int64_t padding = 12 * 4 * 256 * 4;  // twelve parameters, four shards of a block
          CHECK(group.most >= 2 * layer && group.most <= 2 * layer + padding);
          CHECK(head < layer);
          for (const auto& [name, weight] : model.weights().parameters(model.config()))
            CHECK(!has_memory(*weight));
          for (LayerWeights& weights : model.weights().layers)
            for (Linear* linear : weights.matrices()) CHECK(!linear->packed);
        }
      });
}

CHECK_CASE("parallel: a step that failed on one rank leaves sharded weights as they were") {
  check::on_ranks("parallel: a step that failed on one rank leaves sharded weights as they were", 2,
                  [](Ranks& ranks) {
                    TrainerParams params = params_of(false);
                    params.loss.kind = LossKind::ipo;  // squares the difference
                    Pair pair(ranks.group(), check::tiny_model(), check::tiny_model(), params);
                    for (const size_t wrong : {0, 3}) {
                      auto pairs = pairs_of(4);
                      pairs[wrong].reference_chosen = -1e300;
                      bool failed = false;
                      try {
                        pair.sharded.preference_step(pairs, Cancel());
                      } catch (const Error&) {
                        failed = true;
                      }
                      CHECK(failed);
                    }
                    // A cancel that only one rank sees.
                    Cancel cancel;
                    if (ranks.place().rank == 1) cancel.request();
                    bool failed = false;
                    try {
                      pair.sharded.preference_step(pairs_of(4), cancel);
                    } catch (const Error&) {
                      failed = true;
                    }
                    CHECK(failed);
                    pair.step(pairs_of(4));
                    same_bits(pair);
                  });
}

CHECK_CASE("parallel: states go from sharded weights to whole ones and to one process, and back") {
  check::on_ranks(
      "parallel: states go from sharded weights to whole ones and to one process, and back", 2,
      [](Ranks& ranks) {
        const std::string path = check::shared_file("state");
        const std::vector<std::string> paths = {path + ".1", path + ".2"};
        const auto step = [](Trainer& trainer) {
          return trainer.preference_step(pairs_of(4), Cancel());
        };
        const auto meet = [&] { ranks.group().all_reduce(at::zeros({1}))(); };
        Pair first(ranks.group(), check::tiny_model(), check::tiny_model(), params_of(true));
        step(first.sharded);
        first.sharded.save_state(paths[ranks.place().rank]);
        meet();
        Pair next(ranks.group(), check::tiny_model({}, 2), check::tiny_model({}, 3),
                  params_of(true));
        next.sharded.gather_weights();  // of before, which the state replaces
        next.whole.load_state(paths);
        next.sharded.load_state(paths);
        CHECK(!next.sharded.has_weights());
        const StepMetrics expected = step(first.sharded), found = step(next.whole);
        CHECK(found.loss == expected.loss && found.grad_norm == expected.grad_norm);
        CHECK(step(next.sharded).loss == expected.loss);
        same_bits(next);
        // The checkpoint is that of whole weights.
        const std::vector<NamedTensor> a = next.whole.masters(), b = next.sharded.masters();
        CHECK(a.size() == b.size() && a.empty() == (ranks.place().rank != 0));
        for (size_t i = 0; i < a.size(); ++i)
          CHECK(a[i].first == b[i].first && at::equal(a[i].second, b[i].second));
        // One process goes on, and two with sharded weights from its state.
        Transformer model = check::tiny_model({}, 4);
        Trainer own(model, sharding(params_of(true)), {});
        CHECK(own.has_weights());  // nothing to share
        own.load_state(paths);
        const StepMetrics alone = step(own);
        CHECK(std::abs(alone.loss - expected.loss) <= 1e-5 * std::abs(expected.loss));
        own.save_state(path + "." + std::to_string(ranks.place().rank) + ".own");
        meet();
        next.sharded.load_state({path + ".0.own"});
        next.whole.load_state({path + ".0.own"});
        next.step(pairs_of(4));
        same_bits(next);
      });
}

CHECK_CASE("parallel: the weights under an adapter are not sharded") {
  Transformer model = check::adapted().model;
  CHECK_THROWS(invalid_argument, "leave shard at 'optimizer'",
               Trainer(model, sharding(params_of(false)), {}));
}

CHECK_CASE("parallel: a model whose weights are sharded is used once they are gathered") {
  check::on_ranks(
      "parallel: a model whose weights are sharded is used once they are gathered", 2, [](Ranks&) {
        const Tokens tokens{1, 2, 3};
        const TrainerParams params = sharding(params_of(false));
        Engine engine;
        engine.load(check::golden_path("families/llama-3.2"), DType::float32, "cpu", Cancel());
        const std::vector<float> before = engine.logits(tokens);
        uint64_t trainer = engine.start_trainer(params);
        CHECK_THROWS(invalid_argument, "gatherWeights()", engine.logits(tokens));
        engine.gather_weights(trainer);
        CHECK(engine.logits(tokens) == before);
        engine.end_trainer(trainer);
        CHECK(engine.logits(tokens) == before);
        trainer = engine.start_trainer(params);
        engine.end_trainer(trainer);
        CHECK_THROWS(disposed, "ended while the weights were sharded", engine.logits(tokens));
      });
}
