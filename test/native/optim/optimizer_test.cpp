#include "optim/optimizer.h"
#include "check.h"
#include "fast_ops.h"
#include "golden.h"
#include "ops/adamw/kernel.h"
#include "ops/adamw/op.h"
#include "ops/dispatch.h"
#include "optim/schedule.h"
#include "test_device.h"
#include "trainer_params.h"

using namespace cream;

static Tensor floats(const JsonArray& values) {
  return at::tensor(check::numbers(values), at::kDouble).to(at::kFloat);
}

static OptimizerParams plain_params(double learning_rate) {
  OptimizerParams params = check::optimizer_params();
  params.learning_rate = learning_rate;
  params.schedule = Schedule::constant;
  params.max_grad_norm = 0;
  params.total_steps = 100;
  return params;
}

CHECK_CASE("optim: ten steps are torch.optim.AdamW's, norms and clipping included") {
  const JsonValue golden = check::golden("adamw.json");
  const JsonArray& gradients = check::array(golden, "gradients");
  for (const JsonValue& c : check::array(golden, "cases")) {
    OptimizerParams params = plain_params(check::number(c, "lr"));
    params.beta1 = check::number(c, "beta1");
    params.beta2 = check::number(c, "beta2");
    params.epsilon = check::number(c, "eps");
    params.weight_decay = check::number(c, "weight_decay");
    params.max_grad_norm = check::number(c, "max_grad_norm");
    const Tensor weight =
        floats(check::array(golden, "start")).view({1, -1});  // a matrix: weight decay applies
    Optimizer optimizer({{"w", weight}}, params);
    const std::vector<double> norms = check::numbers(check::array(c, "norms"));
    for (size_t i = 0; i < gradients.size(); ++i) {
      optimizer.entry("w").gradient.copy_(floats(*gradients[i].array()).view({1, -1}));
      const auto applied = optimizer.step();
      CHECK(std::abs(applied.grad_norm - norms[i]) <= 1e-6 * norms[i]);
      CHECK_CLOSE(weight.view(-1), floats(*check::array(c, "values")[i].array()),
                  1e-6 * params.learning_rate + 3e-7);
    }
  }
}

CHECK_LEVELS("optim: vector, scalar and plain AdamW agree; the first two bit for bit") {
  for (const int64_t n : {1, 15, 16, 1000, 70001, 200000}) {
    const auto inputs = [n] {
      at::manual_seed(3);
      return std::vector<Tensor>{at::randn({n}), at::randn({n}) * 0.1, at::rand({n}),
                                 at::randn({n})};
    };
    const ops::AdamWStep step{1e-3, 0.9, 0.999, 1e-8, 0.01, 4, 0.37};
    auto fast = inputs(), scalar = inputs(), plain = inputs();
    Tensor fast_weight = at::empty({n}, at::kBFloat16),
           scalar_weight = at::empty({n}, at::kBFloat16),
           plain_weight = at::empty({n}, at::kBFloat16);
    const uint64_t runs = ops::fast_runs(ops::Op::adamw);
    ops::adamw(fast[0], fast[1], fast[2], fast[3], fast_weight, step);
    CHECK(!ops::fast_path() || ops::fast_runs(ops::Op::adamw) == runs + 1);
    {
      const ops::ForcePlain force;
      ops::adamw(scalar[0], scalar[1], scalar[2], scalar[3], scalar_weight, step);
    }
    ops::reference::adamw(plain[0], plain[1], plain[2], plain[3], plain_weight, step);
    for (int i = 0; i < 3; ++i) {
      CHECK(at::equal(fast[i], scalar[i]));
      CHECK_CLOSE(fast[i], plain[i], 1e-6);
    }
    CHECK(at::equal(fast_weight, scalar_weight) &&
          at::equal(fast_weight, fast[0].to(at::kBFloat16)));
  }
}

CHECK_LEVELS("optim: the gradient norm does not depend on threads or instruction set") {
  const Tensor x = at::randn({300007});
  const double sum = ops::sum_of_squares(x);
  CHECK(std::abs(sum - ops::reference::sum_of_squares(x)) <= 1e-10 * sum);
  {
    const ops::ForcePlain force;
    CHECK(ops::sum_of_squares(x) == sum);
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const double alone = ops::sum_of_squares(x);
  at::set_num_threads(threads);
  CHECK(alone == sum);
}

CHECK_CASE("optim: fp32 masters keep what bf16 weights would lose") {
  const Tensor weight = at::full({4, 4}, 1.0, at::kBFloat16);
  Optimizer optimizer({{"w", weight}}, plain_params(1e-4));
  for (int i = 0; i < 100; ++i) {
    optimizer.entry("w").gradient.fill_(1.0);
    optimizer.step();
  }
  // 100 · 1e-4 exceeds one bf16 step at 1; each single update is below a tenth of a step.
  CHECK_CLOSE(optimizer.entry("w").master, at::full({4, 4}, 0.99), 2e-4);
  CHECK(at::equal(weight, optimizer.entry("w").master.to(at::kBFloat16)));
}

CHECK_CASE("optim: masters may come from outside and must fit") {
  const Tensor weight = at::ones({2, 3}, at::kBFloat16);
  const Tensor master = at::full({2, 3}, 1.0009765625);
  Optimizer optimizer({{"w", weight}}, plain_params(1e-3), {{"w", master}});
  CHECK(at::equal(optimizer.entry("w").master, master));
  CHECK_THROWS(invalid_argument, "'x' is not a parameter",
               Optimizer({{"w", weight}}, plain_params(1), {{"x", master}}));
  CHECK_THROWS(invalid_argument, "'w' must be float32",
               Optimizer({{"w", weight}}, plain_params(1), {{"w", at::ones({3, 2})}}));
}

CHECK_CASE("optim: decay spares norms; a bad gradient changes nothing") {
  const Tensor matrix = at::ones({2, 2}), norm = at::ones({2});
  OptimizerParams params = plain_params(0.1);
  params.weight_decay = 0.5;
  Optimizer optimizer({{"w", matrix}, {"norm", norm}}, params);
  optimizer.step();  // zero gradients: only weight decay changes weights
  CHECK_CLOSE(matrix, at::full({2, 2}, 0.95), 1e-7);
  CHECK(at::equal(norm, at::ones({2})));

  optimizer.entry("norm").gradient[1].fill_(std::nan(""));
  const Tensor before = matrix.clone();
  CHECK_THROWS(non_finite, "gradient of step 2", optimizer.step());
  CHECK(at::equal(matrix, before) && at::equal(norm, at::ones({2})) && optimizer.step_count() == 1);
}

CHECK_CASE("optim: learning rates are transformers' schedules") {
  const JsonValue golden = check::golden("schedule.json");
  for (const JsonValue& c : check::array(golden, "cases")) {
    OptimizerParams params = check::optimizer_params();
    params.learning_rate = check::number(golden, "learning_rate");
    const std::string name = *c.find("schedule")->string();
    params.schedule = name == "constant" ? Schedule::constant
                      : name == "linear" ? Schedule::linear
                                         : Schedule::cosine;
    params.warmup_steps = static_cast<int64_t>(check::number(c, "warmup_steps"));
    params.total_steps = static_cast<int64_t>(check::number(c, "total_steps"));
    const std::vector<double> rates = check::numbers(check::array(c, "rates"));
    for (size_t step = 0; step < rates.size(); ++step)
      CHECK(std::abs(learning_rate_at(params, static_cast<int64_t>(step)) - rates[step]) <=
            1e-12 * params.learning_rate);
    if (params.schedule != Schedule::constant)
      CHECK(learning_rate_at(params, params.total_steps + 3) == 0);
  }
}

CHECK_CASE("optim: a warm-up from the first step wastes none and ends at the peak") {
  OptimizerParams params = check::optimizer_params();
  params.learning_rate = 1;
  params.schedule = Schedule::constant;
  params.warmup_steps = 3;
  params.total_steps = 6;
  params.warmup_from_first_step = true;
  const double expected[] = {0.25, 0.5, 0.75, 1, 1, 1};
  for (int64_t step = 0; step < 6; ++step) CHECK(learning_rate_at(params, step) == expected[step]);
}

namespace {

// A parameter in the given forms after some steps, so that no state is 0.
OptimizerEntry& started(Optimizer& optimizer, int64_t n, uint64_t seed) {
  at::manual_seed(seed);
  const Tensor spread =
      at::exp(at::randn({1, n}) * 2);  // gradients of a block differ by orders of magnitude
  OptimizerEntry& entry = optimizer.entry("w");
  for (int i = 0; i < 3; ++i) {
    entry.gradient.copy_(at::randn({1, n}) * spread);
    optimizer.step();
  }
  entry.gradient.copy_(at::randn({1, n}) * spread);
  return entry;
}

OptimizerEntry copy_of(const OptimizerEntry& entry, at::Device device) {
  OptimizerEntry copy = entry;
  for (Tensor* tensor : {&copy.weight, &copy.master, &copy.remainder, &copy.m, &copy.v,
                         &copy.m_scale, &copy.v_scale, &copy.gradient})
    if (tensor->defined())
      *tensor = tensor->to(device, tensor->scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  return copy;
}

void check_same_state(const OptimizerEntry& a, const OptimizerEntry& b) {
  const auto same = [](const Tensor& x, const Tensor& y) {
    return x.defined() == y.defined() && (!x.defined() || at::equal(x, y));
  };
  CHECK(same(a.weight, b.weight));
  CHECK(same(a.master, b.master));
  CHECK(same(a.remainder, b.remainder));
  CHECK(same(a.m, b.m));
  CHECK(same(a.v, b.v));
  CHECK(same(a.m_scale, b.m_scale));
  CHECK(same(a.v_scale, b.v_scale));
}

std::vector<OptimizerForms> all_forms() {
  std::vector<OptimizerForms> forms;
  for (int i = 0; i < 8; ++i) forms.push_back({(i & 1) != 0, (i & 2) != 0, (i & 4) != 0});
  return forms;
}

}  // namespace

CHECK_CASE(
    "optim: small forms: the CPU's kernel is near the reference, and the GPU's, emulated, has its "
    "bits") {
  const bool gpu = check::test_device().is_cuda();  // its fused multiply-adds round differently
  for (const OptimizerForms& forms : all_forms())
    for (const int64_t n : {1, 255, 256, 1000, 70001}) {
      OptimizerParams params = plain_params(1e-3);
      params.forms = forms;
      Optimizer optimizer({{"w", at::randn({1, n}).to(at::kBFloat16)}}, params);
      OptimizerEntry& cpu = started(optimizer, n, 5);
      OptimizerEntry there = copy_of(cpu, check::test_device()), plain = copy_of(cpu, at::kCPU);
      const ops::AdamWStep step{1e-3, 0.9, 0.999, 1e-8, 0.01, 4, 0.37};
      ops::adamw(cpu, step);
      ops::adamw(there, step);
      const OptimizerEntry back = copy_of(there, at::kCPU);
      if (!gpu) check_same_state(cpu, back);
      ops::reference::adamw(plain, step);
      // A value between two codes may round to either where the last bits of the sums differ:
      // rarely, and by at most one step of 1/8.
      const double moment = forms.states_8bit ? 1e-2 : 1e-6;
      for (const OptimizerEntry* made : {static_cast<const OptimizerEntry*>(&cpu), &back}) {
        CHECK_CLOSE(ops::master_of(*made), ops::master_of(plain), 1e-6);
        CHECK_RELATIVE(ops::first_moment_of(*made), ops::first_moment_of(plain), moment);
        CHECK_RELATIVE(ops::second_moment_of(*made), ops::second_moment_of(plain), moment);
      }
      const double parts = ops::sum_of_squares({there.gradient, there.gradient});
      CHECK(std::abs(parts - 2 * ops::sum_of_squares(cpu.gradient)) <= 1e-12 * parts);
    }
}

CHECK_CASE("optim: small forms: the kernel of every level has the bits of the scalar loop") {
  for (const OptimizerForms& forms : all_forms()) {
    OptimizerParams params = plain_params(1e-3);
    params.forms = forms;
    Optimizer optimizer({{"w", at::randn({1, 70001}).to(at::kBFloat16)}}, params);
    OptimizerEntry& entry = started(optimizer, 70001, 6);
    entry.gradient.view(-1).slice(0, 512, 1024).zero_();  // blocks whose moments only decay
    const ops::AdamWStep step{1e-3, 0.9, 0.999, 1e-8, 0.01, 4, 0.37};
    OptimizerEntry scalar = copy_of(entry, at::kCPU);
    {
      const ops::ForcePlain plain;
      for (int i = 0; i < 3; ++i) ops::adamw(scalar, step);
    }
    for (const ops::Level level : {ops::Level::avx2, ops::Level::avx512, ops::Level::avx512_bf16}) {
      const ops::ForceLevel forced(level);
      OptimizerEntry wide = copy_of(entry, at::kCPU);
      for (int i = 0; i < 3; ++i) ops::adamw(wide, step);
      check_same_state(wide, scalar);
    }
  }
}

CHECK_CASE(
    "optim: a master split into weight and remainder comes back to the bit, halfway values but for "
    "the last one") {
  std::vector<int32_t> bits;
  for (const int32_t upper :
       {0x0000, 0x0001, 0x3f80, 0x3f81, 0x4123, 0x7f7e, -0x8000, -0x407f, -0x4080})
    for (const int32_t lower : {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1234, 0xabcd})
      bits.push_back(
          static_cast<int32_t>(static_cast<uint32_t>(upper) << 16 | static_cast<uint32_t>(lower)));
  const Tensor patterns = at::tensor(bits, at::kInt), random = at::randn({1, 200000});
  for (const Tensor& master : {patterns.view(at::kFloat).view({1, -1}), random, random * 1e-30}) {
    Optimizer optimizer({{"w", at::empty(master.sizes(), at::kBFloat16)}},
                        [] {
                          OptimizerParams p = plain_params(1e-3);
                          p.forms.split_masters = true;
                          return p;
                        }(),
                        {{"w", master}});
    const OptimizerEntry& entry = optimizer.entry("w");
    const Tensor whole = master.view(at::kInt), back = ops::master_of(entry).view(at::kInt);
    CHECK(at::equal(entry.weight, master.to(at::kBFloat16)));
    const Tensor halfway =
        (whole.bitwise_and(0x1ffff) == 0x8000);  // a tie whose lower neighbour is even
    CHECK(at::equal(back, whole - halfway.to(at::kInt)));
    OptimizerEntry plain = copy_of(entry, at::kCPU);
    const ops::ForcePlain forced;
    ops::set_master(plain, master);
    check_same_state(plain, entry);
    CHECK(at::equal(ops::master_of(plain).view(at::kInt), back));
  }
}

CHECK_CASE(
    "optim: 8-bit codes keep a block's largest exactly, all others within a sixteenth, and code "
    "twice as once") {
  at::manual_seed(9);
  const int64_t n = 1024;
  OptimizerParams params = plain_params(1e-3);
  params.forms.states_8bit = true;
  params.beta1 = params.beta2 = 0;  // m = g, v = g²
  Optimizer optimizer({{"w", at::zeros({1, n})}}, params);
  OptimizerEntry& entry = optimizer.entry("w");
  const Tensor gradient = at::randn({1, n}) * at::exp(at::randn({1, n}));
  entry.gradient.copy_(gradient);
  optimizer.step();
  const Tensor m = ops::first_moment_of(entry), v = ops::second_moment_of(entry);
  CHECK(((m - gradient).abs() <= gradient.abs() * (1.0 / 15.9)).all().item<bool>());
  CHECK(((v - gradient.square()).abs() <= gradient.square() * (1.0 / 15.9)).all().item<bool>());
  const Tensor largest = std::get<0>(gradient.abs().view({-1, 256}).max(1));
  CHECK(at::equal(entry.m_scale, largest) && at::equal(m.abs().view({-1, 256}).amax(1), largest));
  entry.gradient.zero_();
  optimizer.step();
  CHECK(ops::first_moment_of(entry).count_nonzero().item<int64_t>() == 0 &&
        ops::second_moment_of(entry).count_nonzero().item<int64_t>() == 0);
  // Far below a block's largest value m becomes 0 but v never does, so no update explodes.
  entry.gradient.fill_(1e-12).view(-1)[7].fill_(1.0);
  optimizer.step();
  CHECK(ops::first_moment_of(entry).count_nonzero().item<int64_t>() == 1 + n - 256);
  CHECK(ops::second_moment_of(entry).gt(0).all().item<bool>());
}
