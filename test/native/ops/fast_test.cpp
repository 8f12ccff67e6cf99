// The fast kernels against the plain ops: values, batch invariance bit for bit, and a check that
// they ran.
#include "check.h"
#include "fast_ops.h"
#include "ops/linear_logprob/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"

using namespace cream;
using namespace check::fast;
using at::Tensor;
using ops::Op;

CHECK_CASE("ops fast: parallel_for reaches all threads") {
#ifndef _OPENMP
  check::fail("compiled without OpenMP: at::parallel_for runs on one thread", __FILE__, __LINE__);
#endif
}

CHECK_LEVELS("ops fast: packed linear agrees with at::linear at odd sizes") {
  at::manual_seed(10);
  const MustRun ran(Op::linear), ran32(Op::linear_f32);
  const std::vector<std::array<int64_t, 3>> shapes = {{1, 2, 1},      {3, 30, 31},  {40, 576, 96},
                                                      {15, 100, 33},  {29, 64, 65}, {70, 33, 130},
                                                      {500, 1536, 70}};
  for (const auto& [rows, in, out] : shapes) {
    const Linear w = packed(out, in);
    const Tensor x = at::randn({rows, in}).to(at::kBFloat16);
    CHECK(w.packed != nullptr);
    const Tensor exact = x.to(at::kDouble).matmul(w.weight.to(at::kDouble).t());
    CHECK_RELATIVE(ops::linear(x, w), exact, 3e-3);
    CHECK_RELATIVE(ops::linear_f32(x, w), exact, 2e-6);
    // Strided rows.
    const Tensor wide = at::randn({rows, in + 7}).to(at::kBFloat16);
    CHECK(at::equal(ops::linear(wide.narrow(1, 3, in), w),
                    ops::linear(wide.narrow(1, 3, in).contiguous(), w)));
    const Linear w32 = packed(out, in, at::kFloat);
    const Tensor x32 = at::randn({rows, in});
    CHECK_RELATIVE(ops::linear(x32, w32),
                   x32.to(at::kDouble).matmul(w32.weight.to(at::kDouble).t()), 2e-6);
  }
  ran.done();
  ran32.done();
}

CHECK_LEVELS(
    "ops fast: a row of packed linear has the same bits in every batch and on any number of "
    "threads") {
  at::manual_seed(11);
  const MustRun ran(Op::linear);
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    const Linear w = packed(97, 576, dtype);
    const Tensor x = at::randn({1200, 576}).to(dtype);
    const Tensor all = ops::linear(x, w), all32 = ops::linear_f32(x, w);
    for (int64_t rows = 1; rows <= 70; ++rows) {
      CHECK(at::equal(ops::linear(x.narrow(0, rows, rows), w), all.narrow(0, rows, rows)));
      CHECK(at::equal(ops::linear_f32(x.narrow(0, 1100, rows), w), all32.narrow(0, 1100, rows)));
    }
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const Tensor alone = ops::linear(x, w);
    at::set_num_threads(threads);
    CHECK(at::equal(alone, all));
  }
  ran.done();
}

CHECK_LEVELS(
    "ops fast: a row has the same bits in every batch where the depth is multiplied in parts and "
    "where the result is larger than the caches") {
  at::manual_seed(19);
  const MustRun ran(Op::linear_f32);
  // {in, out}; 600 rows of the second are 39 MB in fp32, and its last panel is half full.
  for (const auto& [in, out] : std::vector<std::array<int64_t, 2>>{{1700, 70}, {40, 16432}}) {
    const Linear w = packed(out, in);
    const Tensor x = at::randn({600, in}).to(at::kBFloat16);
    const Tensor all = ops::linear(x, w), all32 = ops::linear_f32(x, w);
    for (const int64_t rows : {1, 16, 17, 33, 257}) {
      CHECK(at::equal(ops::linear(x.narrow(0, rows, rows), w), all.narrow(0, rows, rows)));
      CHECK(at::equal(ops::linear_f32(x.narrow(0, rows, rows), w), all32.narrow(0, rows, rows)));
    }
  }
  ran.done();
}

CHECK_CASE(
    "ops fast: the plain fp32 product is the same in chunks of a large vocabulary as at once") {
  at::manual_seed(18);
  const Tensor x = at::randn({3, 8}).to(at::kBFloat16),
               weight = at::randn({9000, 8}).to(at::kBFloat16);
  CHECK_CLOSE(ops::reference::linear_f32(x, weight),
              x.to(at::kFloat).matmul(weight.to(at::kFloat).t()), 1e-5);
}

CHECK_LEVELS("ops fast: the plain path runs where autograd owns the weight or a test asks for it") {
  Linear w = packed(8, 16);
  w.weight.requires_grad_(true);
  const uint64_t before = ops::fast_runs(Op::linear);
  const Tensor y = ops::linear(at::ones({2, 16}, at::kBFloat16).requires_grad_(true), w);
  CHECK(y.requires_grad());
  {
    const ops::ForcePlain plain;
    ops::linear(at::ones({2, 16}, at::kBFloat16), w);
  }
  CHECK(ops::fast_runs(Op::linear) == before);
}

CHECK_LEVELS("ops fast: rms_norm, rope and swiglu agree with the plain ops") {
  at::manual_seed(12);
  const MustRun norm(Op::rms_norm), rotation(Op::rope), gate(Op::swiglu);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t rows : {1, 3, 67}) {
      // bf16: a last-bit difference in fp32 can change a rounding, twice.
      const double limit = dtype == at::kFloat ? 1e-6 : 1e-3;
      for (const int64_t width : {576, 100, 17}) {
        const Tensor x = at::randn({rows, width}).to(dtype), weight = at::rand({width}).to(dtype);
        CHECK_RELATIVE(ops::rms_norm(x, weight, 1e-5), ops::reference::rms_norm(x, weight, 1e-5),
                       limit);
        const Tensor both = at::randn({rows, 2 * width}).mul_(30).to(dtype);
        CHECK_RELATIVE(ops::swiglu(both), ops::reference::swiglu(both), limit);
      }
      for (const int64_t d : {64, 128, 20}) {
        const Tensor angle = at::rand({rows, d}), x = slice(rows, 3, d, dtype);
        CHECK_RELATIVE(ops::rope(x, angle.cos(), angle.sin()),
                       ops::reference::rope(x, angle.cos(), angle.sin()), limit);
      }
    }
  const Tensor extreme =
      at::tensor({-200.0f, -90.0f, 0.0f, 90.0f, 200.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f}).unsqueeze(0);
  CHECK_CLOSE(ops::swiglu(extreme), ops::reference::swiglu(extreme), 1e-6);
  norm.done();
  rotation.done();
  gate.done();
}

CHECK_LEVELS("ops fast: RMS norm of a sum has the bits of adding first") {
  at::manual_seed(13);
  const MustRun norm(Op::rms_norm);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const double offset : {0.0, 1.0})
      for (const int64_t width : {576, 100, 17}) {
        Tensor x = at::randn({67, width}).to(dtype), residual = at::randn({67, width}).to(dtype);
        x[0] *= 1e-39, residual[0] *= 1e-39;  // their sum is subnormal
        const Tensor weight = at::rand({width}).to(dtype), sum = x + residual,
                     normed = ops::rms_norm(sum, weight, 1e-5, offset);
        for (const Tensor& added : {residual, slice(67, 1, width, dtype).squeeze(1)}) {
          if (!added.is_contiguous()) added.copy_(residual);
          const ops::AddNorm made = ops::add_rms_norm(x.clone(), added, weight, 1e-5, offset);
          CHECK(at::equal(made.sum, sum) && at::equal(made.normed, normed));
        }
      }
  norm.done();
}

CHECK_LEVELS("ops fast: gradients of rope, swiglu and rms_norm agree with the plain ops'") {
  at::manual_seed(19);
  const MustRun rotation(Op::rope), gate(Op::swiglu), norm(Op::rms_norm);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const double limit = dtype == at::kFloat ? 2e-6 : 6e-3;
    const Tensor x = slice(33, 3, 20, dtype), cos = at::rand({33, 20}), sin = at::rand({33, 20});
    CHECK_RELATIVE(
        gradient(20, x, [&](const Tensor& t) { return ops::rope(t, cos, sin); }),
        gradient(20, x, [&](const Tensor& t) { return ops::reference::rope(t, cos, sin); }), limit);
    const Tensor both = at::randn({33, 2 * 100}).mul_(5).to(dtype);
    CHECK_RELATIVE(gradient(20, both, [](const Tensor& t) { return ops::swiglu(t); }),
                   gradient(20, both, [](const Tensor& t) { return ops::reference::swiglu(t); }),
                   limit);
    for (const double offset : {0.0, 1.0}) {
      const Tensor rows = at::randn({150, 37}).to(dtype), weight = at::randn({37}).to(dtype);
      CHECK_RELATIVE(
          gradient(20, rows,
                   [&](const Tensor& t) { return ops::rms_norm(t, weight, 1e-5, offset); }),
          gradient(
              20, rows,
              [&](const Tensor& t) { return ops::reference::rms_norm(t, weight, 1e-5, offset); }),
          limit);
      CHECK_RELATIVE(
          gradient(20, weight,
                   [&](const Tensor& t) { return ops::rms_norm(rows, t, 1e-5, offset); }),
          gradient(
              20, weight,
              [&](const Tensor& t) { return ops::reference::rms_norm(rows, t, 1e-5, offset); }),
          limit);
    }
  }
  rotation.done();
  gate.done();
  norm.done();
}

CHECK_LEVELS("ops fast: decode attention agrees with the plain op, whatever the shapes") {
  at::manual_seed(13);
  const MustRun ran(Op::decode_attention);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [heads, kv, d] : std::vector<std::array<int64_t, 3>>{
             {9, 3, 64}, {4, 1, 128}, {2, 2, 16}, {6, 2, 80}, {3, 1, 256}})
      for (const int64_t prompt : {0, 1, 64, 130}) {
        const Cache shared(kv, std::max<int64_t>(prompt, 1), prompt + 3, d, dtype);
        std::vector<Cache> own;
        std::vector<DecodeSource> sources;
        for (const int64_t length : {1, 17, 63, 65, 200})
          own.emplace_back(kv, length, length + 5, d, dtype);
        for (const Cache& c : own) sources.push_back(source(prompt ? &shared : nullptr, c));
        const Tensor q = slice(static_cast<int64_t>(sources.size()), heads, d, dtype);
        CHECK_RELATIVE(ops::decode_attention(q, sources, kv),
                       ops::reference::decode_attention(q, sources, kv), tolerance(dtype));
      }
  ran.done();
}

CHECK_LEVELS("ops fast: decode attention has the same bits with transposed groups of keys") {
  at::manual_seed(19);
  const MustRun ran(Op::decode_attention);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t d : {16, 64, 80, 256}) {
      if (!ops::groups_keys(6, 2, d, dtype)) continue;
      const Cache shared(2, 70, 75, d, dtype), shared_groups = shared.grouped(4);
      std::vector<Cache> own, groups;
      for (const int64_t length : {1, 16, 17, 32, 63, 64, 65, 150}) {
        own.emplace_back(2, length, length + 5, d, dtype);
        // As a cache has them: all, or the last full one not yet.
        groups.push_back(own.back().grouped(length % 2 ? length / 16 : (length - 1) / 16));
      }
      std::vector<DecodeSource> rows, transposed;
      for (size_t i = 0; i < own.size(); ++i) {
        rows.push_back(source(&shared, own[i]));
        transposed.push_back(source(&shared_groups, groups[i]));
      }
      const Tensor q = at::randn({static_cast<int64_t>(own.size()), 6, d}).to(dtype);
      for (const int64_t window : {0, 40}) {
        const AttentionKind kind{.window = window};
        const Tensor expected = ops::decode_attention(q, rows, 2, kind);
        CHECK(at::equal(ops::decode_attention(q, transposed, 2, kind), expected));
        CHECK(at::equal(ops::reference::decode_attention(q, transposed, 2, kind),
                        ops::reference::decode_attention(q, rows, 2, kind)));
      }
    }
  const Cache one(1, 1, 4, 16, at::kFloat);
  ops::decode_attention(at::randn({1, 1, 16}), {source(nullptr, one)}, 1);
  ran.done();
}

CHECK_LEVELS("ops fast: a row of decode attention has the same bits alone and among any siblings") {
  at::manual_seed(14);
  const MustRun ran(Op::decode_attention);
  const int64_t heads = 9, kv = 3, d = 64, rows = 50;
  const auto dtype = at::kBFloat16;
  const Cache first(kv, 90, 96, d, dtype), second(kv, 33, 40, d, dtype);
  std::vector<Cache> own;
  for (int64_t row = 0; row < rows; ++row) own.emplace_back(kv, 1 + row * 3, 160, d, dtype);
  std::vector<DecodeSource> sources;
  for (int64_t row = 0; row < rows; ++row)
    sources.push_back(source(row < 41 ? &first : &second, own[row]));
  const Tensor q = at::randn({rows, heads, d}).to(dtype),
               all = ops::decode_attention(q, sources, kv);
  for (int64_t row = 0; row < rows; ++row)
    CHECK(at::equal(ops::decode_attention(q.narrow(0, row, 1), {sources[row]}, kv),
                    all.narrow(0, row, 1)));
  const std::vector<DecodeSource> middle(sources.begin() + 7, sources.begin() + 30);
  CHECK(at::equal(ops::decode_attention(q.narrow(0, 7, 23), middle, kv), all.narrow(0, 7, 23)));
  ran.done();
}

CHECK_LEVELS("ops fast: packed attention agrees with the plain op") {
  at::manual_seed(15);
  const MustRun ran(Op::packed_attention);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [heads, kv, d] :
         std::vector<std::array<int64_t, 3>>{{9, 3, 64}, {4, 1, 128}, {2, 2, 16}}) {
      const std::vector<Segment> segments = {
          {0, 70, -1}, {70, 100, 0}, {170, 1, 0}, {171, 3, -1}, {174, 40, 3}};
      const Tensor q = slice(214, heads, d, dtype), k = slice(214, kv, d, dtype),
                   v = slice(214, kv, d, dtype);
      CHECK_RELATIVE(ops::packed_attention(q, k, v, segments),
                     ops::reference::packed_attention(q, k, v, segments), tolerance(dtype));
    }
  ran.done();
}

// A prompt of `prompt` rows with completions of these lengths; the whole twice.
std::vector<Segment> two_groups(int64_t prompt, const std::vector<int64_t>& completions) {
  std::vector<Segment> segments;
  int64_t row = 0;
  for (int group = 0; group < 2; ++group) {
    const int32_t prefix = static_cast<int32_t>(segments.size());
    segments.push_back({row, prompt, -1});
    row += prompt;
    for (const int64_t length : completions) {
      segments.push_back({row, length, prefix});
      row += length;
    }
  }
  return segments;
}

CHECK_LEVELS(
    "ops fast: attention's gradients agree with the plain op's, whatever the shapes, caps and "
    "windows") {
  struct Shape {
    int64_t heads, kv_heads, d, prompt;
    std::vector<int64_t> completions;
    AttentionKind kind;
  };
  const std::vector<Shape> shapes{{9, 3, 64, 70, {40, 67}, {}},
                                  {2, 2, 16, 1, {0, 1}, {}},
                                  {4, 1, 80, 130, {3, 64, 65}, {0.3, 0, 0}},
                                  {6, 2, 32, 64, {}, {0, 2.0, 0}},
                                  {4, 2, 64, 20, {70, 5}, {0, 0, 9}},
                                  {8, 4, 128, 90, {100}, {0.2, 1.5, 77}}};
  for (const Shape& shape : shapes)
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const std::vector<Segment> segments = two_groups(shape.prompt, shape.completions);
      const int64_t rows = segments.back().start + segments.back().length;
      const Tensor qkv = at::randn({rows, (shape.heads + 2 * shape.kv_heads) * shape.d})
                             .to(type);  // strided, as in the joined projection
      const auto part = [&](int64_t first, int64_t heads) {
        return qkv.narrow(1, first * shape.d, heads * shape.d).view({rows, heads, shape.d});
      };
      const Tensor q = part(0, shape.heads), k = part(shape.heads, shape.kv_heads),
                   v = part(shape.heads + shape.kv_heads, shape.kv_heads);
      const Tensor d_out = at::randn({rows, shape.heads * shape.d}).to(type);
      const uint64_t before = ops::fast_runs(ops::Op::packed_attention_gradient);
      const auto fast = ops::packed_attention_gradient(q, k, v, d_out, segments, shape.kind);
      CHECK(ops::fast_runs(ops::Op::packed_attention_gradient) == before + 1);
      const auto plain =
          ops::reference::packed_attention_gradient(q, k, v, d_out, segments, shape.kind);
      const double tolerance = type == at::kFloat ? 2e-5 : 5e-3;
      CHECK_RELATIVE(fast.q.to(at::kFloat), plain.q.to(at::kFloat), tolerance);
      CHECK_RELATIVE(fast.k.to(at::kFloat), plain.k.to(at::kFloat), tolerance);
      CHECK_RELATIVE(fast.v.to(at::kFloat), plain.v.to(at::kFloat), tolerance);
      // A task's sums have one order, whichever thread runs it.
      const int threads = at::get_num_threads();
      at::set_num_threads(threads == 1 ? 2 : 1);
      const auto again = ops::packed_attention_gradient(q, k, v, d_out, segments, shape.kind);
      at::set_num_threads(threads);
      CHECK(at::equal(again.q, fast.q) && at::equal(again.k, fast.k) && at::equal(again.v, fast.v));
    }
}

CHECK_LEVELS("ops fast: decoding a token and scoring it give the same attention bits") {
  at::manual_seed(16);
  const MustRun ran(Op::packed_attention), ran_decode(Op::decode_attention);
  const int64_t heads = 9, kv = 3, d = 64, prompt = 77, own = 90;
  const auto dtype = at::kBFloat16;
  const Tensor q = at::randn({prompt + own, heads, d}).to(dtype);
  const Tensor k = at::randn({prompt + own, kv, d}).to(dtype),
               v = at::randn({prompt + own, kv, d}).to(dtype);
  const Tensor scored = ops::packed_attention(q, k, v, {{0, prompt, -1}, {prompt, own, 0}});
  const auto cache = [&](const Tensor& t, int64_t start, int64_t n) {
    return t.narrow(0, start, n).transpose(0, 1).contiguous();
  };
  const Tensor sk = cache(k, 0, prompt), sv = cache(v, 0, prompt), ok = cache(k, prompt, own),
               ov = cache(v, prompt, own);
  for (int64_t n = 1; n <= own; ++n) {
    const DecodeSource s{sk.data_ptr(), sv.data_ptr(), prompt, prompt,
                         ok.data_ptr(), ov.data_ptr(), n,      own};
    CHECK(at::equal(ops::decode_attention(q.narrow(0, prompt + n - 1, 1), {s}, kv)[0],
                    scored[prompt + n - 1]));
  }
  ran.done();
  ran_decode.done();
}

CHECK_LEVELS(
    "ops fast: linear_logprob agrees with the plain op and is the same bits in every batch") {
  at::manual_seed(17);
  const MustRun ran(Op::linear_logprob);
  for (const auto& [vocab, dtype] :
       std::vector<std::pair<int64_t, at::ScalarType>>{{1, at::kBFloat16},
                                                       {31, at::kBFloat16},
                                                       {1024, at::kBFloat16},
                                                       {5003, at::kBFloat16},
                                                       {5003, at::kFloat}}) {
    const Head head{packed(vocab, 96, dtype)};
    const Tensor hidden = at::randn({200, 96}).mul_(4).to(dtype),
                 targets = at::randint(0, vocab, {200}, at::kLong);
    const Tensor all = ops::linear_logprob(hidden, head, targets);
    CHECK_CLOSE(all, ops::reference::linear_logprob(hidden, head, targets), 2e-5);
    for (const int64_t rows : {1, 13, 90}) {
      const Tensor some =
          ops::linear_logprob(hidden.narrow(0, 80, rows), head, targets.narrow(0, 80, rows));
      CHECK(at::equal(some, all.narrow(0, 80, rows)));
    }
  }
  ran.done();
}

CHECK_LEVELS("ops fast: a NaN among the logits is a NaN in every log-prob") {
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    Head head{packed(5003, 96, dtype)};
    head.weight[4000].fill_(NAN);
    ops::pack(head);
    const Tensor hidden = at::randn({20, 96}).to(dtype),
                 targets = at::randint(4000, {20}, at::kLong);
    CHECK(ops::linear_logprob(hidden, head, targets).isnan().all().item<bool>());
  }
}
