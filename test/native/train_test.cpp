#include "train/trainer.h"

#include <cstdio>
#include <filesystem>
#include <limits>

#include "loss/preference.h"
#include "ops/attention/op.h"
#include "ops/dispatch.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"
#include "score/scorer.h"
#include "tiny_model.h"
#include "train/attention.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own
#include "fast_ops.h"

using namespace cream;

namespace {

TrainerParams params_of(double learning_rate, int64_t micro_batch_tokens = 2048,
                        bool checkpointing = true) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = learning_rate;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.optimizer.max_grad_norm = 0;
  params.micro_batch_tokens = micro_batch_tokens;
  params.activation_checkpointing = checkpointing;
  return params;
}

// Pairs of unequal lengths, some with one-token completions; the reference is the model itself.
std::vector<PreferencePair> pairs_for(const Transformer& model, double consistency,
                                      size_t count = 4) {
  std::vector<PreferencePair> pairs;
  for (size_t i = 0; i < count; ++i) {
    PreferencePair pair{check::tiny_tokens(3 + 4 * i, i),
                        check::tiny_tokens(1 + 5 * i, 50 + i),
                        check::tiny_tokens(9 - 2 * i, 90 + i),
                        0,
                        0,
                        consistency};
    ScoringRequest request;
    request.groups.push_back({pair.prompt, {pair.chosen, pair.rejected}});
    const ScoringResult scored = score(model, request, {}, Cancel());
    pair.reference_chosen = scored.sums[0];
    pair.reference_rejected = scored.sums[1];
    pairs.push_back(pair);
  }
  return pairs;
}

std::vector<SftExample> examples() {
  return {{check::tiny_tokens(5, 1), check::tiny_tokens(7, 2)},
          {check::tiny_tokens(2, 3), check::tiny_tokens(1, 4)},
          {check::tiny_tokens(11, 5), check::tiny_tokens(20, 6)}};
}

std::vector<Tensor> snapshot(Transformer& model) {
  std::vector<Tensor> values;
  for (auto& [name, tensor] : model.weights().parameters(model.config()))
    values.push_back(tensor->clone());
  return values;
}

void check_same_weights(Transformer& a, Transformer& b) {
  const auto left = a.weights().parameters(a.config()), right = b.weights().parameters(b.config());
  for (size_t i = 0; i < left.size(); ++i) CHECK(at::equal(*left[i].second, *right[i].second));
}

// Reference model: one unpacked sequence through ops::reference, on leaves that require gradients.
struct PlainModel {
  explicit PlainModel(Transformer& model)
      : config(model.config()), weights(model.weights()), rope(make_rope_table(config, 64)) {
    for (auto& [name, tensor] : weights.parameters(config))
      *tensor = tensor->detach().clone().set_requires_grad(true);
    if (config.tie_word_embeddings) weights.head.weight = weights.embedding.weight;
  }

  // Summed log-prob of the completion, a scalar with autograd graph.
  Tensor logprob(const Tokens& prompt, const Tokens& completion) const {
    const Tokens all = check::joined(prompt, completion);
    const std::vector<int64_t> ids(all.begin(), all.end());
    const int64_t n = static_cast<int64_t>(ids.size()), d = config.head_dim;
    const Tensor tokens = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong);
    const Tensor cos = rope.cos.slice(0, 0, n), sin = rope.sin.slice(0, 0, n);
    Tensor x = weights.embedding.weight.index_select(0, tokens);
    for (const LayerWeights& w : weights.layers) {
      const Tensor qkv = at::matmul(ops::reference::rms_norm(x, w.input_norm, config.rms_norm_eps),
                                    w.qkv.weight.t());
      const auto parts =
          qkv.split_with_sizes({config.q_size(), config.kv_size(), config.kv_size()}, 1);
      const Tensor attended = ops::reference::packed_attention(
          ops::reference::rope(parts[0].reshape({n, -1, d}), cos, sin),
          ops::reference::rope(parts[1].reshape({n, -1, d}), cos, sin),
          parts[2].reshape({n, -1, d}), {{0, n, -1}});
      x = x + at::matmul(attended, w.out.weight.t());
      const Tensor gate_up = at::matmul(
          ops::reference::rms_norm(x, w.post_norm, config.rms_norm_eps), w.gate_up.weight.t());
      x = x + at::matmul(ops::reference::swiglu(gate_up), w.down.weight.t());
    }
    x = ops::reference::rms_norm(x, weights.final_norm, config.rms_norm_eps);
    const Tensor logprobs = at::matmul(x, weights.head.weight.t()).log_softmax(-1);
    const int64_t first = static_cast<int64_t>(prompt.size());
    return logprobs.slice(0, first - 1, n - 1)
        .gather(1, tokens.slice(0, first, n).unsqueeze(1))
        .sum();
  }

  // Gradients in the order and under the names of the optimizer's entries.
  std::vector<NamedTensor> gradients(const Tensor& loss) {
    torch::autograd::variable_list leaves;
    std::vector<NamedTensor> named;
    for (auto& [name, tensor] : weights.parameters(config))
      leaves.push_back(*tensor), named.emplace_back(name, Tensor());
    const auto values = torch::autograd::grad({loss}, leaves);
    for (size_t i = 0; i < values.size(); ++i) named[i].second = values[i];
    return named;
  }

  ModelConfig config;
  Weights weights;
  RopeTable rope;
};

// After one step from zero moments m = (1 − β1)·g, so the trainer's gradient can be read without a
// hook.
void check_gradients(Trainer& trainer, const std::vector<NamedTensor>& expected, double tolerance) {
  for (const auto& [name, gradient] : expected) {
    const Tensor actual =
        trainer.optimizer().entry(name).m / (1 - trainer.params().optimizer.beta1);
    CHECK_RELATIVE(actual, gradient, tolerance);
  }
}

struct TemporaryFile {
  TemporaryFile()
      : path((std::filesystem::temp_directory_path() /
              ("cream-train-" + std::to_string(reinterpret_cast<uintptr_t>(this))))
                 .string()) {}
  ~TemporaryFile() { std::remove(path.c_str()); }
  std::string path;
};

}  // namespace

CHECK_CASE("train: gradients of a packed preference step are autograd's on separate sequences") {
  for (const auto& shape : check::tiny_shapes()) {
    Transformer model = check::tiny_model(shape);
    std::vector<PreferencePair> pairs = pairs_for(model, 0.8);
    for (size_t i = 0; i < pairs.size(); ++i)
      pairs[i].reference_chosen += 0.7 * static_cast<double>(i);
    PlainModel plain(model);
    const TrainerParams params = params_of(1e-3);
    Trainer trainer(model, params, {});
    const StepMetrics metrics = trainer.preference_step(pairs, Cancel());

    Tensor loss = at::zeros({});
    for (const PreferencePair& pair : pairs) {
      const Tensor z = ((plain.logprob(pair.prompt, pair.chosen) - pair.reference_chosen) -
                        (plain.logprob(pair.prompt, pair.rejected) - pair.reference_rejected)) *
                       params.loss.beta;
      loss = loss - (at::log_sigmoid(z) * 0.8 + at::log_sigmoid(-z) * 0.2) /
                        static_cast<double>(pairs.size());
    }
    CHECK(std::abs(metrics.loss - loss.item<double>()) <= 1e-5);
    check_gradients(trainer, plain.gradients(loss), 1e-4);
  }
}

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

CHECK_CASE(
    "train: gradients of an SFT step are autograd's; the loss is the mean over completion tokens") {
  for (const auto& shape : check::tiny_shapes()) {
    Transformer model = check::tiny_model(shape);
    PlainModel plain(model);
    Trainer trainer(model, params_of(1e-3, 24), {});
    const StepMetrics metrics = trainer.sft_step(examples(), Cancel());
    Tensor loss = at::zeros({});
    for (const SftExample& example : examples())
      loss = loss - plain.logprob(example.prompt, example.completion) / 28.0;
    CHECK(std::abs(metrics.loss - loss.item<double>()) <= 1e-5);
    check_gradients(trainer, plain.gradients(loss), 1e-4);
    CHECK(metrics.step == 1 && metrics.tokens == 5 + 6 + 2 + 11 + 19);
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
    "train: attention's gradients are autograd's, and leave what they are made from as it was") {
  // One query head per key head in fp32: in this layout the GEMM's rows share q's memory.
  const std::vector<Segment> segments = {{0, 5, -1}, {5, 3, 0}, {8, 1, 0}, {9, 2, -1}};
  const auto leaf = [] { return at::randn({11, 2, 4}).set_requires_grad(true); };
  const Tensor q = leaf(), k = leaf(), v = leaf(), d_out = at::randn({11, 8});
  const Tensor before = q.detach().clone();
  TrainingAttention attention(segments);
  const auto expected = torch::autograd::grad({ops::reference::packed_attention(q, k, v, segments)},
                                              {q, k, v}, {d_out});
  const AttentionLayer layer;
  const auto gradients =
      torch::autograd::grad({attention.attend(layer, q, k, v)}, {q, k, v}, {d_out});
  for (size_t i = 0; i < 3; ++i) CHECK_RELATIVE(gradients[i], expected[i], 1e-5);
  CHECK(at::equal(q, before));
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
    const TemporaryFile file;
    {
      Trainer trainer(half, params, {});
      for (int i = 0; i < 3; ++i) trainer.preference_step(pairs, Cancel());
      trainer.save_state(file.path);
    }
    Trainer resumed_trainer(resumed, params,
                            {});  // over other weights: the state includes the weights
    resumed_trainer.load_state(file.path);
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
  const TemporaryFile file;
  trainer.save_state(file.path);
  const auto before = snapshot(model);

  Transformer untied = check::tiny_model({2, false}), heads = check::tiny_model({4, true}),
              same = check::tiny_model();
  Trainer untied_trainer(untied, params_of(1e-3), {}), heads_trainer(heads, params_of(1e-3), {}),
      other(same, params_of(2e-3), {});
  CHECK_THROWS(invalid_file, "tensors, not", untied_trainer.load_state(file.path));
  CHECK_THROWS(invalid_file, "has another shape", heads_trainer.load_state(file.path));
  CHECK_THROWS(invalid_argument, "learning_rate 0.001, this trainer has 0.002",
               other.load_state(file.path));
  CHECK_THROWS(not_found, "", trainer.load_state(file.path + ".none"));
  trainer.optimizer().entry("final_norm").m[0].fill_(std::nan(""));
  const TemporaryFile bad;
  trainer.save_state(bad.path);
  CHECK_THROWS(invalid_file, "'m.final_norm' holds values that are not finite",
               trainer.load_state(bad.path));
  trainer.load_state(file.path);
  trainer.optimizer().entry("final_norm").v[2].fill_(-1e-9);
  trainer.save_state(bad.path);
  CHECK_THROWS(invalid_file, "'v.final_norm' holds negative values", trainer.load_state(bad.path));
  trainer.load_state(file.path);
  trainer.optimizer().set_step_count(std::numeric_limits<int64_t>::max());
  trainer.save_state(bad.path);
  CHECK_THROWS(invalid_file, "step count is not a number of steps", trainer.load_state(bad.path));
  trainer.load_state(file.path);
  const auto after = snapshot(model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
}

CHECK_CASE("train: NaN, impossible input and a cancelled step leave everything as it was") {
  Transformer model = check::tiny_model();
  Trainer trainer(model, params_of(1e-3, 16), {});
  const auto pairs = pairs_for(model, 1);
  const auto before = snapshot(model);

  Cancel cancelled;
  cancelled.request();
  CHECK_THROWS(aborted, "aborted", trainer.preference_step(pairs, cancelled));
  CHECK_THROWS(invalid_argument, "at least one pair", trainer.preference_step({}, Cancel()));
  CHECK_THROWS(invalid_argument, "at least one example", trainer.sft_step({}, Cancel()));
  auto wrong = pairs;
  wrong[2].rejected.clear();
  CHECK_THROWS(invalid_argument, "rejected completion of pair 2",
               trainer.preference_step(wrong, Cancel()));
  wrong = pairs;
  wrong[1].chosen[0] = 96;
  CHECK_THROWS(invalid_argument, "chosen completion of pair 1",
               trainer.preference_step(wrong, Cancel()));
  wrong = pairs;
  wrong[3].weight = 1.5;
  CHECK_THROWS(invalid_argument, "weight of pair 3", trainer.preference_step(wrong, Cancel()));
  wrong[3].weight = 1;
  wrong[3].reference_chosen = std::nan("");
  CHECK_THROWS(invalid_argument, "reference log-prob of pair 3",
               trainer.preference_step(wrong, Cancel()));
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

CHECK_LEVELS("train: in bf16 the kernels' gradients are as near to fp32's as the plain path's") {
  for (check::TinyShape shape : check::tiny_shapes()) {
    Transformer exact = check::tiny_model(shape);
    shape.dtype = at::kBFloat16;
    Transformer fast = check::tiny_model(shape), plain = check::tiny_model(shape);
    const auto from = fast.weights().parameters(fast.config()),
               to = exact.weights().parameters(exact.config());
    for (size_t i = 0; i < from.size(); ++i) to[i].second->copy_(*from[i].second);
    auto pairs = pairs_for(exact, 0.8);
    for (size_t i = 0; i < pairs.size(); ++i)
      pairs[i].reference_chosen += 0.7 * static_cast<double>(i);
    const auto gradients_of = [&](Transformer& model) {
      Trainer trainer(model, params_of(1e-3, 60, false), {});
      trainer.preference_step(pairs, Cancel());
      std::vector<Tensor> moments;
      for (const OptimizerEntry& entry : trainer.optimizer().entries()) moments.push_back(entry.m);
      return moments;
    };
    const auto right = gradients_of(exact), ours = gradients_of(fast);
    const ops::ForcePlain force;
    const auto theirs = gradients_of(plain);
    const auto error = [&](const std::vector<Tensor>& m, size_t i) {
      return ((m[i] - right[i]).norm() / right[i].norm()).item<double>();
    };
    for (size_t i = 0; i < right.size(); ++i)
      CHECK(error(ours, i) <= 1.3 * error(theirs, i) + 2e-3);
  }
}
