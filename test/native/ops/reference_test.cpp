// The plain ops against a naive formulation, and their gradients against central differences in
// double.
#include "check.h"
#include "ops/attention/op.h"
#include "ops/linear/op.h"
#include "ops/linear_logprob/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"

using namespace cream;
using at::Tensor;

namespace {

const auto f64 = at::TensorOptions().dtype(at::kDouble);

// d(Σ f·probe)/dx by autograd against central differences, at every entry of x.
void check_gradient(Tensor x, const std::function<Tensor(const Tensor&)>& f) {
  at::manual_seed(7);
  x = x.detach().clone().requires_grad_(true);
  const Tensor y = f(x), probe = at::randn(y.sizes(), f64);
  const Tensor gradient = torch::autograd::grad({(y * probe).sum()}, {x})[0];
  at::NoGradGuard no_grad;
  Tensor numeric = at::empty_like(x), entries = x.detach().view({-1});
  constexpr double h = 1e-5;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double at = entries[i].item<double>();
    entries[i] = at + h;
    const double up = (f(x) * probe).sum().item<double>();
    entries[i] = at - h;
    const double down = (f(x) * probe).sum().item<double>();
    entries[i] = at;
    numeric.view({-1})[i] = (up - down) / (2 * h);
  }
  CHECK_CLOSE(gradient, numeric, 1e-7);
}

// Attention over the whole batch under one [rows, rows] mask; packed_attention must agree with it.
Tensor dense_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const std::vector<Segment>& segments) {
  const int64_t rows = q.size(0), heads = q.size(1), d = q.size(2), group = heads / k.size(1);
  Tensor visible = at::zeros({rows, rows}, at::kBool);
  for (const Segment& s : segments)
    for (int64_t i = 0; i < s.length; ++i) {
      visible[s.start + i].narrow(0, s.start, i + 1).fill_(true);
      if (s.prefix >= 0)
        visible[s.start + i]
            .narrow(0, segments[s.prefix].start, segments[s.prefix].length)
            .fill_(true);
    }
  const Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  const Tensor scores = at::einsum("ihd,jhd->hij", {q, keys}) / std::sqrt(static_cast<double>(d));
  const Tensor weights = at::softmax(scores.masked_fill(visible.logical_not(), -INFINITY), -1);
  return at::einsum("hij,jhd->ihd", {weights, values}).reshape({rows, heads * d});
}

const std::vector<Segment> shared_prompt = {
    {0, 5, -1}, {5, 3, 0}, {8, 1, 0}, {9, 4, -1}, {13, 2, 3}};

}  // namespace

CHECK_CASE("ops: rms_norm rounds to the input's dtype before the weight, as LlamaRMSNorm") {
  at::manual_seed(0);
  const Tensor x = at::randn({7, 48}).to(at::kBFloat16), weight = at::rand({48}).to(at::kBFloat16);
  const Tensor wide = x.to(at::kFloat);
  const Tensor expected =
      weight * (wide * at::rsqrt(wide.pow(2).mean(-1, true) + 1e-5)).to(at::kBFloat16);
  CHECK(at::equal(ops::reference::rms_norm(x, weight, 1e-5), expected));
}

CHECK_CASE("ops: rope turns the pair (i, i + half) by the position's angle") {
  at::manual_seed(1);
  const int64_t rows = 3, heads = 2, d = 8;
  const Tensor x = at::randn({rows, heads, d}, f64), angle = at::rand({rows, d / 2}, f64);
  const Tensor c = angle.cos(), s = angle.sin();
  const Tensor y = ops::reference::rope(x, at::cat({c, c}, 1), at::cat({s, s}, 1));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < d / 2; ++i) {
      const Tensor a = x[r].select(1, i), b = x[r].select(1, i + d / 2);
      CHECK_CLOSE(y[r].select(1, i), a * c[r][i] - b * s[r][i], 1e-12);
      CHECK_CLOSE(y[r].select(1, i + d / 2), a * s[r][i] + b * c[r][i], 1e-12);
    }
}

CHECK_CASE("ops: packed attention is dense attention under the segments' mask") {
  at::manual_seed(2);
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const Tensor q = at::randn({15, 6, 16}, dtype), k = at::randn({15, 2, 16}, dtype),
                 v = at::randn({15, 2, 16}, dtype);
    const Tensor dense = dense_attention(q, k, v, shared_prompt);
    CHECK_CLOSE(ops::reference::packed_attention(q, k, v, shared_prompt), dense,
                dtype == at::kDouble ? 1e-12 : 1e-5);
  }
}

CHECK_CASE("ops: packed attention refuses segments that leave rows out") {
  const Tensor q = at::zeros({4, 2, 16}), k = at::zeros({4, 1, 16});
  CHECK_THROWS(internal, "segments", ops::reference::packed_attention(q, k, k, {{0, 3, -1}}));
  CHECK_THROWS(internal, "segments", ops::reference::packed_attention(q, k, k, {{1, 3, -1}}));
}

CHECK_CASE("ops: decode attention is the last row of packed attention") {
  at::manual_seed(3);
  const int64_t heads = 4, kv = 2, d = 16, prompt = 5, own = 3;
  const Tensor q = at::randn({prompt + own, heads, d}), k = at::randn({prompt + own, kv, d}),
               v = at::randn({prompt + own, kv, d});
  const Tensor packed =
      ops::reference::packed_attention(q, k, v, {{0, prompt, -1}, {prompt, own, 0}});
  const auto cache = [&](const Tensor& t, int64_t start, int64_t n) {
    return t.narrow(0, start, n).transpose(0, 1).contiguous();
  };
  const Tensor sk = cache(k, 0, prompt), sv = cache(v, 0, prompt), ok = cache(k, prompt, own),
               ov = cache(v, prompt, own);
  const DecodeSource source{sk.data_ptr(), sv.data_ptr(), prompt, prompt,
                            ok.data_ptr(), ov.data_ptr(), own,    own};
  const Tensor row =
      ops::reference::decode_attention(q.narrow(0, prompt + own - 1, 1), {source}, kv);
  CHECK_CLOSE(row[0], packed[prompt + own - 1], 1e-5);
}

CHECK_CASE("ops: linear_logprob is log_softmax at the target") {
  at::manual_seed(4);
  const Tensor hidden = at::randn({300, 24}), head = at::randn({101, 24}),
               targets = at::randint(0, 101, {300}, at::kLong);
  const Tensor expected =
      at::log_softmax(hidden.matmul(head.t()), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
  CHECK_CLOSE(ops::reference::linear_logprob(hidden, Head{{.weight = head}}, targets), expected,
              1e-4);
}

CHECK_CASE("ops: gradients of the plain ops agree with central differences") {
  at::manual_seed(5);
  const Tensor weight = at::rand({6}, f64), w = at::randn({5, 6}, f64), x = at::randn({4, 6}, f64);
  check_gradient(x, [&](const Tensor& t) { return ops::rms_norm(t, weight, 1e-5); });
  check_gradient(weight, [&](const Tensor& t) { return ops::rms_norm(x, t, 1e-5); });
  check_gradient(x, [&](const Tensor& t) { return ops::swiglu(t); });
  check_gradient(x, [&](const Tensor& t) { return ops::linear(t, Linear{.weight = w}); });
  check_gradient(w, [&](const Tensor& t) { return ops::linear(x, Linear{.weight = t}); });
  const Tensor heads = at::randn({3, 2, 4}, f64), angle = at::rand({3, 4}, f64);
  check_gradient(heads, [&](const Tensor& t) { return ops::rope(t, angle.cos(), angle.sin()); });
}

CHECK_CASE("ops: gradients of packed attention agree with central differences") {
  at::manual_seed(6);
  const Tensor q = at::randn({15, 4, 4}, f64), k = at::randn({15, 2, 4}, f64),
               v = at::randn({15, 2, 4}, f64);
  check_gradient(q, [&](const Tensor& t) { return ops::packed_attention(t, k, v, shared_prompt); });
  check_gradient(k, [&](const Tensor& t) { return ops::packed_attention(q, t, v, shared_prompt); });
  check_gradient(v, [&](const Tensor& t) { return ops::packed_attention(q, k, t, shared_prompt); });
}
