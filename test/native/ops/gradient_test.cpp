// The gradients of linear layers and of the joined projection's heads: the kernels against the
// plain ops, the cut over threads, and the accumulation of a weight's gradient.
#include "check.h"
#include "fast_ops.h"
#include "ops/rope/op.h"

using namespace cream;
using namespace check::fast;
using at::Tensor;
using ops::Op;

namespace {

Tensor rounded(at::IntArrayRef size) { return at::randn(size).to(at::kBFloat16); }

}  // namespace

CHECK_LEVELS(
    "ops gradient: a linear layer's gradients agree with exact products, in one pass and in "
    "several, at odd sizes") {
  at::manual_seed(30);
  const MustRun ran(Op::linear_gradient);
  // {rows, out, in}; the last ones need several passes over the outputs (more than 3,072) and over
  // the tokens (more than 1,024).
  const std::vector<std::array<int64_t, 3>> shapes = {{1, 1, 1},       {2, 31, 33},   {3, 15, 64},
                                                      {33, 64, 31},    {70, 97, 100}, {170, 576, 7},
                                                      {281, 6200, 40}, {2100, 90, 97}};
  for (const auto& [rows, out, in] : shapes) {
    const Tensor dy = rounded({rows, out}), w = rounded({out, in}), x = rounded({rows, in});
    CHECK_RELATIVE(ops::linear_input_gradient(dy, w), dy.to(at::kDouble).mm(w.to(at::kDouble)),
                   3e-3);
    const Tensor before = at::randn({out, in});
    Tensor sum = before.clone();
    ops::add_linear_weight_gradient(sum, dy, x);
    CHECK_RELATIVE(sum, before.to(at::kDouble) + dy.to(at::kDouble).t().mm(x.to(at::kDouble)),
                   2e-6);
    // Strided rows.
    const Tensor wide = rounded({rows, out + 5}), narrow = wide.narrow(1, 2, out);
    CHECK(at::equal(ops::linear_input_gradient(narrow, w),
                    ops::linear_input_gradient(narrow.contiguous(), w)));
    Tensor apart = before.clone(), together = before.clone();
    ops::add_linear_weight_gradient(apart, narrow, x);
    ops::add_linear_weight_gradient(together, narrow.contiguous(), x);
    CHECK(at::equal(apart, together));
    const Tensor dy32 = at::randn({rows, out}), w32 = at::randn({out, in}),
                 x32 = at::randn({rows, in});
    CHECK_RELATIVE(ops::linear_input_gradient(dy32, w32),
                   dy32.to(at::kDouble).mm(w32.to(at::kDouble)), 2e-6);
    Tensor sum32 = before.clone();
    ops::add_linear_weight_gradient(sum32, dy32, x32);
    CHECK_RELATIVE(sum32, before.to(at::kDouble) + dy32.to(at::kDouble).t().mm(x32.to(at::kDouble)),
                   2e-6);
  }
  ran.done();
}

CHECK_LEVELS(
    "ops gradient: a linear layer's gradients are the same bits on any number of threads") {
  at::manual_seed(31);
  const MustRun ran(Op::linear_gradient);
  const Tensor dy = rounded({1100, 3200}), w = rounded({3200, 130}), x = rounded({1100, 130});
  const auto both = [&] {
    Tensor sum = at::ones({3200, 130});
    ops::add_linear_weight_gradient(sum, dy, x);
    return std::pair{ops::linear_input_gradient(dy, w), sum};
  };
  const int threads = at::get_num_threads();
  const auto all = both();
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    const auto [input, weight] = both();
    at::set_num_threads(threads);
    CHECK(at::equal(input, all.first));
    CHECK(at::equal(weight, all.second));
  }
  ran.done();
}

CHECK_LEVELS(
    "ops gradient: linear adds its weight's gradient where that is collected, with and without "
    "kernels") {
  at::manual_seed(32);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const double limit = dtype == at::kFloat ? 1e-6 : 6e-3;
    const Tensor weight = at::randn({50, 40}).to(dtype), bias = at::randn({50}).to(dtype),
                 x = at::randn({30, 40}).to(dtype), dy = at::randn({30, 50}).to(dtype);
    const Tensor leaf = x.clone().requires_grad_(true), owned = weight.clone().requires_grad_(true),
                 owned_bias = bias.clone().requires_grad_(true);
    const auto expected = torch::autograd::grad({at::linear(leaf, owned, owned_bias)},
                                                {leaf, owned, owned_bias}, {dy});
    for (const bool plain : {false, true}) {
      const std::unique_ptr<ops::ForcePlain> force =
          plain ? std::make_unique<ops::ForcePlain>() : nullptr;
      Linear w{.weight = weight,
               .bias = bias.clone().requires_grad_(true),
               .gradient = at::ones({50, 40})};
      ops::pack(w);
      const Tensor input = x.clone().requires_grad_(true), y = ops::linear(input, w);
      {
        const at::NoGradGuard no_grad;
        CHECK(at::equal(y, ops::linear(x, w)));  // the same bits as in scoring
      }
      const auto actual = torch::autograd::grad({y}, {input, w.bias}, {dy});
      CHECK_RELATIVE(actual[0], expected[0], limit);
      CHECK_RELATIVE(actual[1], expected[2], limit);
      CHECK_RELATIVE(w.gradient - 1, expected[1], limit);
    }
  }
}

CHECK_LEVELS("ops gradient: packing again rewrites the copy in place, for all who share it") {
  at::manual_seed(33);
  const MustRun ran(Op::linear);
  Linear w = packed(70, 50);
  const Linear sharing = w;
  w.weight.copy_(at::randn({70, 50}));
  ops::pack(w);
  CHECK(w.packed == sharing.packed);
  const Tensor x = rounded({9, 50});
  CHECK(at::equal(ops::linear(x, sharing), ops::linear(x, w)));
  CHECK_RELATIVE(ops::linear(x, w), at::linear(x, w.weight), 6e-3);
  // Each weight has a copy of its own.
  Linear other = w;
  other.weight = w.weight.clone();
  ops::pack(other);
  CHECK(other.packed != w.packed);
  ran.done();
}

CHECK_LEVELS(
    "ops gradient: the heads of a joined projection, and their gradients, are those of slices "
    "rotated separately") {
  at::manual_seed(34);
  const MustRun ran(Op::rope);
  constexpr int64_t rows = 37, heads = 6, kv_heads = 2, d = 24;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t rotary_dim : {24, 12}) {
      const Tensor qkv = at::randn({rows, (heads + 2 * kv_heads) * d}).to(dtype),
                   cos = at::rand({rows, rotary_dim}), sin = at::rand({rows, rotary_dim});
      const Tensor dq = at::randn({rows, heads, d}).to(dtype),
                   dk = at::randn({rows, kv_heads, d}).to(dtype),
                   dv = at::randn({rows, kv_heads, d}).to(dtype);
      const Tensor fast = qkv.clone().requires_grad_(true),
                   plain = qkv.clone().requires_grad_(true);
      const ops::AttentionHeads made = ops::rope_heads({fast, cos, sin, heads, kv_heads});
      const Tensor all = plain.view({rows, heads + 2 * kv_heads, d}),
                   q = ops::reference::rope(all.narrow(1, 0, heads), cos, sin),
                   k = ops::reference::rope(all.narrow(1, heads, kv_heads), cos, sin),
                   v = all.narrow(1, heads + kv_heads, kv_heads);
      CHECK_CLOSE(made.q, q, tolerance(dtype) * 10);
      CHECK_CLOSE(made.k, k, tolerance(dtype) * 10);
      CHECK(at::equal(made.v, v));
      CHECK_RELATIVE(torch::autograd::grad({made.q, made.k, made.v}, {fast}, {dq, dk, dv})[0],
                     torch::autograd::grad({q, k, v}, {plain}, {dq, dk, dv})[0],
                     dtype == at::kFloat ? 2e-6 : 6e-3);
    }
  ran.done();
}
