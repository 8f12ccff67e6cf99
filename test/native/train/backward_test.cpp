// Gradients of a training step, compared with autograd on the plain model.
#include "ops/attention/op.h"
#include "ops/dispatch.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"
#include "train/attention.h"
#include "training.h"

#include "fast_ops.h"

using namespace cream;
using namespace training;

namespace {

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
