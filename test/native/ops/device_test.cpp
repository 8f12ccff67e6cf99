// The launchers of the kernels of *.cu, on the emulated device or a GPU: values and gradients
// against the plain ops on the CPU, and a check that they ran.
#include "check.h"
#include "fast_ops.h"
#include "loss/linear_preference.h"
#include "ops/linear_logprob/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"
#include "ops/token_logprob/op.h"
#include "test_device.h"

using namespace cream;
using at::Tensor;
using check::to_device;
using ops::Op;

namespace {

const std::array kTypes = {at::kFloat, at::kBFloat16};

double device_tolerance(at::ScalarType type) { return type == at::kFloat ? 1e-5 : 6e-3; }

// f(inputs) and the gradients of the inputs, for a random gradient of the result that is the same
// on every device.
using Function = std::function<Tensor(const std::vector<Tensor>&)>;
std::vector<Tensor> with_gradients(const Function& f, std::vector<Tensor> inputs) {
  const at::AutoGradMode grad(true);
  for (Tensor& x : inputs) x = x.detach().requires_grad_(true);
  const Tensor y = f(inputs);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
  const Tensor dy = at::randn(y.sizes(), generator, at::TensorOptions().dtype(at::kFloat))
                        .to(y.device(), y.scalar_type());
  std::vector<Tensor> all = torch::autograd::grad({y}, inputs, {dy});
  all.insert(all.begin(), y.detach());
  return all;
}

void check_function(Op op, const Function& on_device, const Function& plain,
                    const std::vector<Tensor>& inputs) {
  const double allowed = device_tolerance(inputs[0].scalar_type());
  std::vector<Tensor> there;
  for (const Tensor& x : inputs) there.push_back(to_device(x));
  const uint64_t before = ops::fast_runs(op);
  const std::vector<Tensor> made = with_gradients(on_device, there);
  CHECK(ops::fast_runs(op) > before);
  const Tensor value = on_device(there);
  std::vector<Tensor> expected;
  {
    const ops::ForcePlain force;
    expected = with_gradients(plain, inputs);
  }
  for (size_t i = 0; i < made.size(); ++i) {
    CHECK(made[i].device() == check::test_device() &&
          made[i].scalar_type() == expected[i].scalar_type());
    CHECK_RELATIVE(made[i].cpu(), expected[i], allowed);
  }
  CHECK(at::equal(value.cpu(), made[0].cpu()));  // the same bits with autograd as without
}

Tensor random(at::IntArrayRef size, at::ScalarType type) { return at::randn(size).to(type); }

}  // namespace

CHECK_CASE("device ops: RMS norm and its gradients, with Gemma's offset and without") {
  at::manual_seed(1);
  for (const auto type : kTypes)
    for (const double offset : {0.0, 1.0})
      for (const auto& [rows, width] : {std::pair{5, 48}, {1300, 17}}) {
        const Function f = [&](const auto& in) {
          return ops::rms_norm(in[0], in[1], 1e-5, offset);
        };
        check_function(Op::rms_norm, f, f, {random({rows, width}, type), random({width}, type)});
      }
}

CHECK_CASE("device ops: RMS norm of a sum, and its gradients, are those of adding first") {
  at::manual_seed(7);
  for (const auto type : kTypes)
    for (const double offset : {0.0, 1.0})
      for (const auto& [rows, width] : {std::pair{5, 48}, {1300, 17}}) {
        const Function f = [&](const auto& in) {
          const ops::AddNorm made = ops::add_rms_norm(in[0].clone(), in[1], in[2], 1e-5, offset);
          return at::cat({made.sum, made.normed}, 1);
        };
        const std::vector<Tensor> inputs{random({rows, width}, type), random({rows, width}, type),
                                         random({width}, type)};
        check_function(Op::rms_norm, f, f, inputs);
        const Function normed = [&](const auto& in) {
          return ops::add_rms_norm(in[0].clone(), in[1], in[2], 1e-5, offset).normed;
        };
        check_function(Op::rms_norm, normed, normed, inputs);
        const Tensor x = to_device(inputs[0]), residual = to_device(inputs[1]),
                     weight = to_device(inputs[2]), sum = x + residual;
        const ops::AddNorm made =
            ops::add_rms_norm(x.clone(), residual, weight, 1e-5,
                              offset);  // bit for bit the result of the two separate kernels
        CHECK(at::equal(made.sum.cpu(), sum.cpu()) &&
              at::equal(made.normed.cpu(), ops::rms_norm(sum, weight, 1e-5, offset).cpu()));
      }
}

CHECK_CASE(
    "device ops: RoPE and the heads of a joined projection, also where only part of a head is "
    "rotated") {
  at::manual_seed(2);
  for (const auto type : kTypes)
    for (const int64_t rotary_dim : {16, 8}) {
      const Tensor angles = at::randn({6, rotary_dim / 2}), both = at::cat({angles, angles}, 1),
                   cos = both.cos(), sin = both.sin();
      const Tensor cos_there = to_device(cos), sin_there = to_device(sin);
      const auto tables = [&](const Tensor& x) {
        return x.is_cpu() ? std::pair{cos, sin} : std::pair{cos_there, sin_there};
      };
      const Function rope = [&](const auto& in) {
        return ops::rope(in[0], tables(in[0]).first, tables(in[0]).second);
      };
      check_function(Op::rope, rope, rope, {random({6, 3, 16}, type)});
      const Function heads = [&](const auto& in) {
        const ops::AttentionHeads made =
            ops::rope_heads({in[0], tables(in[0]).first, tables(in[0]).second, 4, 2});
        return at::cat({made.q, made.k, made.v}, 1) * 1;
      };
      check_function(Op::rope, heads, heads, {random({6, 8 * 16}, type)});
    }
}

CHECK_CASE("device ops: gated activations") {
  at::manual_seed(3);
  for (const auto type : kTypes)
    for (const auto activation : {Activation::silu, Activation::gelu_tanh})
      for (const int64_t n : {48, 13}) {
        const Function f = [&](const auto& in) { return ops::swiglu(in[0], activation); };
        check_function(Op::swiglu, f, f, {random({5, 2 * n}, type)});
      }
}

CHECK_CASE(
    "device ops: a linear layer, its weight's gradient summed in fp32, and adapters with dropout") {
  at::manual_seed(4);
  for (const auto type : kTypes) {
    const Tensor weight = random({24, 16}, type), bias = random({24}, type),
                 x = random({9, 16}, type);
    const Tensor down = random({4, 16}, type), up = random({12, 4}, type),
                 sum = at::randn({24, 16});
    const auto run = [&](const std::function<Tensor(const Tensor&)>& to) {
      Linear w{.weight = to(weight), .bias = to(bias), .gradient = to(sum.clone())};
      LinearAdapter adapter{.begin = 8, .scale = 0.5};
      adapter.down.weight = to(down), adapter.up.weight = to(up);
      adapter.dropout = {0.25, 77, 3, 1, 2};
      w.adapters.push_back(adapter);
      std::vector<Tensor> made =
          with_gradients([&](const auto& in) { return ops::linear(in[0], w); }, {to(x)});
      made.push_back(w.gradient);
      made.push_back(ops::linear_f32(to(x), Linear{.weight = to(weight)}));
      return made;
    };
    const auto there = run([](const Tensor& t) { return to_device(t); });
    const ops::ForcePlain force;
    const auto here = run([](const Tensor& t) { return t; });
    for (size_t i = 0; i < here.size(); ++i)
      CHECK_RELATIVE(there[i].cpu(), here[i], device_tolerance(type));
    CHECK(there[2].scalar_type() == at::kFloat && there[3].scalar_type() == at::kFloat);
    const InputDropout dropout{0.3, 9, 1, 2, 3};
    CHECK(at::equal(ops::keep_mask(dropout, 7, 333, to_device(x).options()).cpu(),
                    ops::keep_mask(dropout, 7, 333, x.options())));
  }
}

CHECK_CASE("device ops: log-probs at targets, capped and not, and their gradient") {
  at::manual_seed(5);
  const int64_t rows = 7, vocab = 301;
  const Tensor targets = at::randint(vocab, {rows}, at::kLong), coefficient = at::randn({rows});
  for (const double cap : {0.0, 2.5})
    for (const auto type : kTypes) {
      const Tensor logits = at::randn({rows, vocab}) * 3;
      const auto expected = ops::reference::token_logprob(logits, targets, cap);
      const auto made = ops::token_logprob(to_device(logits), to_device(targets), cap);
      CHECK_CLOSE(made.logprob.cpu(), expected.logprob, 1e-5);
      const Tensor gradient = ops::token_logprob_gradient(
          to_device(logits), made.logsumexp, to_device(targets), to_device(coefficient), type, cap);
      CHECK_RELATIVE(gradient.cpu(),
                     ops::reference::token_logprob_gradient(logits.clone(), expected.logsumexp,
                                                            targets, coefficient, type, cap),
                     device_tolerance(type));
      const Tensor leaf = logits.clone().requires_grad_(true);
      const at::AutoGradMode grad(true);
      const Tensor z = cap > 0 ? at::tanh(leaf / cap) * cap : leaf,
                   chosen = z.log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1);
      CHECK_RELATIVE(gradient.cpu(), torch::autograd::grad({chosen}, {leaf}, {coefficient})[0],
                     device_tolerance(type));
    }
  for (const auto type : kTypes) {
    const Head head{{.weight = random({vocab, 16}, type)}, 0.75, 2.5},
        there{{.weight = to_device(head.weight)}, 0.75, 2.5};
    const Tensor hidden = random({rows, 16}, type);
    CHECK_CLOSE(ops::linear_logprob(to_device(hidden), there, to_device(targets)).cpu(),
                ops::reference::linear_logprob(hidden, head, targets), 2e-5);
  }
}

CHECK_CASE("device ops: both losses and their gradients, with a capped head and a frozen one") {
  at::manual_seed(6);
  const std::vector<PairRows> pairs = {{0, 3, 3, 5, -9, -8, 0.8, 0.5, -9, -8},
                                       {5, 6, 6, 12, -5, -20, 0.4, 0.5, -6, -21}};
  const Tensor targets = at::randint(50, {12}, at::kLong), weights = at::rand({12});
  for (const auto type : kTypes)
    for (const double cap : {0.0, 3.0})
      for (const int64_t chunk : {4, 64}) {
        const Tensor hidden = random({12, 16}, type), matrix = random({50, 16}, type);
        const auto run = [&](const std::function<Tensor(const Tensor&)>& to) {
          const Head head{{.weight = to(matrix)}, cap > 0 ? 0.75 : 1.25, cap};
          Tensor first = to(at::zeros({50, 16})), second = to(at::zeros({50, 16}));
          std::vector<PairOutcome> outcomes;
          const HeadGradient a =
              linear_preference(to(hidden), head, to(targets), pairs,
                                {LossKind::dpo, 0.1, 0, 0, 0.05}, first, outcomes, chunk);
          const HeadGradient b =
              linear_cross_entropy(to(hidden), head, to(targets), to(weights), second, chunk);
          return std::vector<Tensor>{at::scalar_tensor(a.loss),
                                     at::scalar_tensor(b.loss),
                                     a.d_hidden.cpu(),
                                     b.d_hidden.cpu(),
                                     first.cpu(),
                                     second.cpu()};
        };
        const auto there = run([](const Tensor& t) { return to_device(t); });
        const ops::ForcePlain force;
        const auto here = run([](const Tensor& t) { return t; });
        for (size_t i = 0; i < here.size(); ++i)
          CHECK_RELATIVE(there[i], here[i], i < 2 ? 1e-5 : device_tolerance(type));
      }
}
