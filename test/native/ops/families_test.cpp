// Features of model families, fast kernels against plain ops: windows and soft caps in attention,
// GeGLU, Gemma's norm, partial RoPE, capped logits.
#include "check.h"
#include "fast_ops.h"
#include "ops/linear_logprob/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/softcap/op.h"
#include "ops/swiglu/op.h"
#include "train/attention.h"

using namespace cream;
using namespace check::fast;

namespace {

const std::vector<AttentionKind> kKinds = {{0.2, 0, 0}, {0, 3, 0},    {0, 0, 1},   {0, 0, 7},
                                           {0, 0, 64},  {0.3, 2, 70}, {0, 0, 1000}};

const std::vector<Segment> kSegments = {
    {0, 70, -1}, {70, 100, 0}, {170, 1, 0}, {171, 3, -1}, {174, 40, 3}};

// Reference attention row by row: visibility is decided for every key.
Tensor one_by_one(const Tensor& q, const Tensor& k, const Tensor& v,
                  const std::vector<Segment>& segments, const AttentionKind& kind) {
  const int64_t heads = q.size(1), group = heads / k.size(1), d = q.size(2);
  std::vector<Tensor> rows;
  for (const Segment& segment : segments)
    for (int64_t row = 0; row < segment.length; ++row) {
      std::vector<int64_t> seen;
      if (segment.prefix >= 0)
        for (int64_t i = 0; i < segments[segment.prefix].length; ++i)
          seen.push_back(segments[segment.prefix].start + i);
      for (int64_t i = 0; i <= row; ++i) seen.push_back(segment.start + i);
      if (kind.window > 0 && static_cast<int64_t>(seen.size()) > kind.window)
        seen.erase(seen.begin(), seen.end() - kind.window);
      const Tensor index = at::tensor(at::ArrayRef<int64_t>(seen), at::kLong);
      const Tensor keys = k.index_select(0, index).repeat_interleave(group, 1),
                   values = v.index_select(0, index).repeat_interleave(group, 1);
      Tensor scores =
          (q[segment.start + row].unsqueeze(0) * keys).sum(-1) * kind.scale_of(d);  // [seen, heads]
      if (kind.softcap > 0) scores = at::tanh(scores / kind.softcap) * kind.softcap;
      rows.push_back((at::softmax(scores, 0).unsqueeze(-1) * values).sum(0).view({heads * d}));
    }
  return at::stack(rows);
}

}  // namespace

CHECK_CASE("ops families: the plain windows and caps are what each row sees, key by key") {
  at::manual_seed(30);
  for (const AttentionKind& kind : kKinds) {
    const Tensor q = at::randn({214, 4, 16}, at::kDouble), k = at::randn({214, 2, 16}, at::kDouble),
                 v = at::randn({214, 2, 16}, at::kDouble);
    CHECK_CLOSE(ops::reference::packed_attention(q, k, v, kSegments, kind),
                one_by_one(q, k, v, kSegments, kind), 1e-12);
  }
}

CHECK_LEVELS("ops families: packed attention with windows and caps agrees with the plain op") {
  at::manual_seed(31);
  const MustRun ran(Op::packed_attention);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [heads, kv, d] :
         std::vector<std::array<int64_t, 3>>{{9, 3, 64}, {4, 1, 128}, {2, 2, 16}, {2, 1, 256}})
      for (const AttentionKind& kind : kKinds) {
        const Tensor q = slice(214, heads, d, dtype), k = slice(214, kv, d, dtype),
                     v = slice(214, kv, d, dtype);
        CHECK_RELATIVE(ops::packed_attention(q, k, v, kSegments, kind),
                       ops::reference::packed_attention(q, k, v, kSegments, kind),
                       tolerance(dtype));
      }
  ran.done();
}

CHECK_LEVELS("ops families: decode attention with windows and caps agrees with the plain op") {
  at::manual_seed(32);
  const MustRun ran(Op::decode_attention);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const AttentionKind& kind : kKinds)
      for (const int64_t prompt : {0, 1, 64, 130}) {
        const int64_t heads = 6, kv = 2, d = 32;
        const Cache shared(kv, std::max<int64_t>(prompt, 1), prompt + 3, d, dtype);
        std::vector<Cache> own;
        std::vector<DecodeSource> sources;
        for (const int64_t length : {1, 17, 63, 65, 200})
          own.emplace_back(kv, length, length + 5, d, dtype);
        for (const Cache& c : own) sources.push_back(source(prompt ? &shared : nullptr, c));
        const Tensor q = slice(static_cast<int64_t>(sources.size()), heads, d, dtype);
        CHECK_RELATIVE(ops::decode_attention(q, sources, kv, kind),
                       ops::reference::decode_attention(q, sources, kv, kind), tolerance(dtype));
      }
  ran.done();
}

CHECK_LEVELS(
    "ops families: decoding and scoring give the same bits through windows and caps, alone and "
    "among siblings") {
  at::manual_seed(33);
  const MustRun ran(Op::packed_attention), ran_decode(Op::decode_attention);
  const int64_t heads = 6, kv = 2, d = 32, prompt = 77, own = 90;
  const auto dtype = at::kBFloat16;
  const Tensor q = at::randn({prompt + own, heads, d}).to(dtype);
  const Tensor k = at::randn({prompt + own, kv, d}).to(dtype),
               v = at::randn({prompt + own, kv, d}).to(dtype);
  const auto cache = [&](const Tensor& t, int64_t start, int64_t n) {
    return t.narrow(0, start, n).transpose(0, 1).contiguous();
  };
  const Tensor sk = cache(k, 0, prompt), sv = cache(v, 0, prompt), ok = cache(k, prompt, own),
               ov = cache(v, prompt, own);
  for (const AttentionKind& kind : kKinds) {
    const Tensor scored = ops::packed_attention(q, k, v, {{0, prompt, -1}, {prompt, own, 0}}, kind)
                              .narrow(0, prompt, own);
    std::vector<DecodeSource> sources;
    for (int64_t n = 1; n <= own; ++n)
      sources.push_back(
          {sk.data_ptr(), sv.data_ptr(), prompt, prompt, ok.data_ptr(), ov.data_ptr(), n, own});
    const Tensor rows = q.narrow(0, prompt, own);
    CHECK(at::equal(ops::decode_attention(rows, sources, kv, kind), scored));
    for (int64_t n = 0; n < own; n += 7)
      CHECK(at::equal(ops::decode_attention(rows.narrow(0, n, 1), {sources[static_cast<size_t>(n)]},
                                            kv, kind)[0],
                      scored[n]));
  }
  ran.done();
  ran_decode.done();
}

CHECK_LEVELS(
    "ops families: training's attention has autograd's gradients through windows and caps") {
  at::manual_seed(34);
  for (const AttentionKind& kind : kKinds) {
    const Tensor q = at::randn({214, 4, 16}).requires_grad_(true),
                 k = at::randn({214, 2, 16}).requires_grad_(true),
                 v = at::randn({214, 2, 16}).requires_grad_(true);
    const Tensor d_out = at::randn({214, 64});
    TrainingAttention attention(kSegments);
    const AttentionLayer layer{0, kind};
    const auto gradients =
        torch::autograd::grad({attention.attend(layer, q, k, v)}, {q, k, v}, {d_out});
    const auto expected = torch::autograd::grad(
        {ops::reference::packed_attention(q, k, v, kSegments, kind)}, {q, k, v}, {d_out});
    for (size_t i = 0; i < 3; ++i)
      CHECK_CLOSE(gradients[i], expected[i],
                  2e-5);  // q and k have no gradient where a row attends only to itself
  }
}

CHECK_LEVELS(
    "ops families: GeGLU, Gemma's norm, partial RoPE and the cap agree with the plain ops") {
  at::manual_seed(35);
  const MustRun norm(Op::rms_norm), rotation(Op::rope), gate(Op::swiglu), cap(Op::softcap);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t rows : {1, 3, 67}) {
      const double limit = dtype == at::kFloat ? 1e-6 : 2e-3;
      for (const int64_t width : {576, 100, 17}) {
        const Tensor x = at::randn({rows, width}).to(dtype),
                     weight = at::randn({width}).mul_(0.3).to(dtype);
        CHECK_RELATIVE(ops::rms_norm(x, weight, 1e-5, 1),
                       ops::reference::rms_norm(x, weight, 1e-5, 1), limit);
        const Tensor both = at::randn({rows, 2 * width}).mul_(3).to(dtype);
        CHECK_RELATIVE(ops::swiglu(both, Activation::gelu_tanh),
                       ops::reference::swiglu(both, Activation::gelu_tanh), limit);
      }
      for (const auto& [d, rotary_dim] :
           std::vector<std::array<int64_t, 2>>{{128, 96}, {16, 12}, {20, 2}}) {
        const Tensor angle = at::rand({rows, rotary_dim}), x = slice(rows, 3, d, dtype);
        CHECK_RELATIVE(ops::rope(x, angle.cos(), angle.sin()),
                       ops::reference::rope(x, angle.cos(), angle.sin()), limit);
      }
    }
  const Tensor extreme =
      at::tensor({-200.0f, -20.0f, 0.0f, 20.0f, 200.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f}).unsqueeze(0);
  CHECK_CLOSE(ops::swiglu(extreme, Activation::gelu_tanh),
              ops::reference::swiglu(extreme, Activation::gelu_tanh), 1e-6);
  for (const double c : {0.5, 30.0}) {
    Tensor fast = at::cat({at::randn({1001}).mul_(c), at::linspace(-1, 1, 200).mul_(c),
                           at::tensor({-1e6f, 1e6f, 0.0f, -INFINITY, INFINITY})}),
           plain = fast.clone();
    ops::softcap_(fast, c);
    ops::reference::softcap_(plain, c);
    CHECK_CLOSE(fast, plain, 5e-7 * c);
  }
  for (const MustRun* ran : {&norm, &rotation, &gate, &cap}) ran->done();
}

CHECK_LEVELS("ops families: gradients of GeGLU, partial RoPE and Gemma's norm") {
  at::manual_seed(36);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const double limit = dtype == at::kFloat ? 2e-6 : 6e-3;
    const Tensor x = slice(33, 3, 20, dtype), cos = at::rand({33, 12}), sin = at::rand({33, 12});
    CHECK_RELATIVE(
        gradient(37, x, [&](const Tensor& t) { return ops::rope(t, cos, sin); }),
        gradient(37, x, [&](const Tensor& t) { return ops::reference::rope(t, cos, sin); }), limit);
    const Tensor both = at::randn({33, 2 * 100}).mul_(2).to(dtype);
    CHECK_RELATIVE(
        gradient(37, both, [](const Tensor& t) { return ops::swiglu(t, Activation::gelu_tanh); }),
        gradient(37, both,
                 [](const Tensor& t) { return ops::reference::swiglu(t, Activation::gelu_tanh); }),
        limit);
  }
}

CHECK_LEVELS(
    "ops families: capped log-probs agree with the plain op and are the same bits in every batch") {
  at::manual_seed(38);
  const MustRun ran(Op::linear_logprob);
  for (const int64_t vocab : {31, 1024, 5003}) {
    const Head head{packed(vocab, 96), 0.75, 2.5};
    const Tensor hidden = at::randn({200, 96}).mul_(4).to(at::kBFloat16),
                 targets = at::randint(0, vocab, {200}, at::kLong);
    const Tensor all = ops::linear_logprob(hidden, head, targets);
    CHECK_CLOSE(all, ops::reference::linear_logprob(hidden, head, targets), 2e-5);
    CHECK_CLOSE(
        all,
        ops::linear_f32(hidden, head).log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1),
        2e-5);
    for (const int64_t rows : {1, 13, 90})
      CHECK(at::equal(
          ops::linear_logprob(hidden.narrow(0, 80, rows), head, targets.narrow(0, 80, rows)),
          all.narrow(0, 80, rows)));
  }
  ran.done();
}
