// A device's packed attention, on the emulated device or a GPU, against the plain op and autograd:
// the tile kernels, flash attention where a GPU has it, and the code around flash attention with
// plain attention in place of its two calls.
#include "check.h"
#include "ops/attention/cuda.h"
#include "ops/attention/device.h"
#include "ops/attention/flash.h"
#include "ops/attention/packed_block.h"
#include "ops/attention/paged_warp_block.h"
#include "test_device.h"
#include "train/attention.h"

using namespace cream;
using at::Tensor;
using check::to_device;
using ops::AttentionGradient;

namespace {

// A prompt with completions (one of a single row, one empty), a lone prompt, a prompt of one row,
// and a prompt whose completion comes later.
const std::vector<Segment> kPackedSegments = {{0, 70, -1},  {70, 41, 0},  {111, 1, 0},
                                              {112, 0, 0},  {112, 5, -1}, {117, 1, -1},
                                              {118, 33, 5}, {151, 20, 4}, {171, 3, -1}};
constexpr int64_t kRows = 174;

const std::vector<AttentionKind> kPackedKinds = {{},        {0.2, 0, 0},  {0, 3, 0},   {0, 0, 1},
                                                 {0, 0, 7}, {0.3, 2, 64}, {0, 0, 1000}};

Tensor slice(int64_t heads, int64_t d, at::ScalarType dtype) {
  return at::randn({kRows, (heads + 3) * d})
      .to(dtype)
      .narrow(1, d, heads * d)
      .unflatten(1, {heads, d});
}

// A copy on the device with the same strides (a slice of a joined projection).
Tensor sent(const Tensor& x) {
  const Tensor slice =
      at::zeros({x.size(0), x.size(1) + 3, x.size(2)}, x.options().device(check::test_device()))
          .narrow(1, 1, x.size(1));
  return slice.copy_(x);
}

struct Case {
  Tensor q, k, v, d_out;
  Case(int64_t kv_heads, int64_t group, int64_t d, at::ScalarType dtype)
      : q(slice(kv_heads * group, d, dtype)),
        k(slice(kv_heads, d, dtype)),
        v(slice(kv_heads, d, dtype)),
        d_out(at::randn({kRows, kv_heads * group * d}).to(dtype)) {}
  Case(Tensor q, Tensor k, Tensor v, Tensor d_out)
      : q(std::move(q)), k(std::move(k)), v(std::move(v)), d_out(std::move(d_out)) {}
  Case there() const { return {sent(q), sent(k), sent(v), to_device(d_out)}; }
};

// Reference in fp64 by autograd.
std::pair<Tensor, AttentionGradient> expected(const Case& c, const std::vector<Segment>& segments,
                                              const AttentionKind& kind) {
  const at::AutoGradMode grad(true);
  const auto leaf = [](const Tensor& x) { return x.to(at::kDouble).requires_grad_(true); };
  const Tensor q = leaf(c.q), k = leaf(c.k), v = leaf(c.v),
               out = ops::reference::packed_attention(q, k, v, segments, kind);
  const auto d = torch::autograd::grad({out}, {q, k, v}, {c.d_out.to(at::kDouble)});
  return {out.detach(), {d[0], d[1], d[2]}};
}

void check_gradient(const AttentionGradient& actual, const AttentionGradient& wanted,
                    double tolerance) {
  const auto check = [&](const Tensor& a, const Tensor& b) {
    if (b.abs().max().item<double>() > 1e-9)
      CHECK_RELATIVE(a.cpu().to(at::kDouble), b, tolerance);
    else
      CHECK_CLOSE(a.cpu().to(at::kDouble), b,
                  tolerance);  // in a window of one row the weight is always 1
  };
  check(actual.q, wanted.q), check(actual.k, wanted.k), check(actual.v, wanted.v);
}

// The public ops on the device: the value as in scoring, value and gradient under autograd as in
// training, and the gradient op by itself.
void check_device(const Case& c, const AttentionKind& kind) {
  const auto [out, gradient] = expected(c, kPackedSegments, kind);
  const bool wide = c.q.scalar_type() == at::kFloat;
  const double close = wide ? 2e-6 : check::allowed(4e-3, 8e-3),
               steep =
                   wide ? 1e-5 : check::allowed(1e-2, 2e-2);  // flash attention rounds P to bf16
  const Case there = c.there();
  const Tensor actual = ops::packed_attention(there.q, there.k, there.v, kPackedSegments, kind);
  CHECK(actual.device() == check::test_device() && actual.scalar_type() == c.q.scalar_type());
  CHECK_RELATIVE(actual.cpu().to(at::kDouble), out, close);
  const AttentionGradient d =
      ops::packed_attention_gradient(there.q, there.k, there.v, there.d_out, kPackedSegments, kind);
  CHECK(d.q.device() == check::test_device() && d.k.sizes() == c.k.sizes());
  check_gradient(d, gradient, steep);

  const at::AutoGradMode grad(true);
  const auto leaf = [](const Tensor& x) { return x.detach().requires_grad_(true); };
  const Tensor q = leaf(there.q), k = leaf(there.k), v = leaf(there.v);
  const Tensor trained = TrainingAttention(kPackedSegments).attend({0, kind}, q, k, v);
  CHECK(at::equal(trained.detach(), actual));  // the same bits as in scoring
  const auto again = torch::autograd::grad({trained}, {q, k, v}, {there.d_out});
  check_gradient({again[0], again[1], again[2]}, gradient, steep);
  if (c.q.size(2) % 8 == 0)
    CHECK(at::equal(d.q, again[0]) && at::equal(d.k, again[1]) && at::equal(d.v, again[2]));
}

// One sequence at a time, as in variable-length flash attention: causal, aligned at the end.
struct Sequence {
  Tensor q, k, v;
  Segment own;
  int64_t first_key;
};
std::vector<Sequence> sequences(const ops::device::FlashInput& in) {
  std::vector<Sequence> out;
  CHECK(in.plan.query_ends.scalar_type() == at::kInt && in.plan.key_ends.scalar_type() == at::kInt);
  for (int64_t i = 0; i + 1 < in.plan.query_ends.size(0); ++i) {
    const int64_t row = in.plan.query_ends[i].item<int64_t>(),
                  key = in.plan.key_ends[i].item<int64_t>();
    const int64_t rows = in.plan.query_ends[i + 1].item<int64_t>() - row,
                  keys = in.plan.key_ends[i + 1].item<int64_t>() - key;
    CHECK(rows > 0 && rows <= in.plan.most_queries && keys >= rows && keys <= in.plan.most_keys);
    out.push_back({in.q.narrow(0, row, rows).cpu(),
                   in.k.narrow(0, key, keys).cpu(),
                   in.v.narrow(0, key, keys).cpu(),
                   {row, rows, -1},
                   key});
  }
  return out;
}
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, double scale, int64_t window) {
  const int64_t rows = q.size(0), keys = k.size(0), group = q.size(1) / k.size(1);
  Tensor mask = at::ones({rows, keys}, at::kBool).tril(keys - rows);
  if (window > 0) mask = mask.triu(keys - rows + 1 - window);
  const auto heads = [](const Tensor& x, int64_t times) {
    return x.to(at::kDouble).repeat_interleave(times, 1).transpose(0, 1);
  };
  const Tensor scores = at::matmul(heads(q, 1), heads(k, group).transpose(1, 2)) * scale;
  return at::matmul(at::softmax(scores.masked_fill(mask.logical_not(), -INFINITY), -1),
                    heads(v, group))
      .transpose(0, 1);
}
Tensor joined(const std::vector<Tensor>& parts, const Tensor& like) {
  return at::cat(parts).to(like.device(), like.scalar_type());
}

const ops::device::FlashCalls kPlain{
    [](const ops::device::FlashInput& in) -> ops::device::PackedSaved {
      std::vector<Tensor> parts;
      for (const Sequence& s : sequences(in))
        parts.push_back(attend(s.q, s.k, s.v, in.scale, in.window));
      return {joined(parts, in.q), Tensor(), Tensor(), Tensor()};
    },
    [](const ops::device::FlashInput& in, const Tensor& d_out,
       const ops::device::PackedSaved& saved) -> AttentionGradient {
      CHECK(saved.out.sizes() == in.q.sizes() && d_out.sizes() == in.q.sizes());
      std::vector<Tensor> q, k, v;
      for (const Sequence& s : sequences(in)) {
        const at::AutoGradMode grad(true);
        const auto leaf = [](const Tensor& x) { return x.to(at::kDouble).requires_grad_(true); };
        const Tensor a = leaf(s.q), b = leaf(s.k), c = leaf(s.v);
        const auto d = torch::autograd::grad(
            {attend(a, b, c, in.scale, in.window)}, {a, b, c},
            {d_out.narrow(0, s.own.start, s.own.length).cpu().to(at::kDouble)});
        q.push_back(d[0]), k.push_back(d[1]), v.push_back(d[2]);
      }
      return {joined(q, in.q), joined(k, in.k), joined(v, in.v)};
    }};

void check_flash(const std::vector<Segment>& segments, at::ScalarType dtype,
                 const AttentionKind& kind) {
  const Case c(2, 3, 16, dtype), there = c.there();
  const auto [out, gradient] = expected(c, segments, kind);
  const bool wide = dtype == at::kFloat;
  const auto saved = ops::device::flash_forward(there.q, there.k, there.v, segments, kind, kPlain);
  CHECK_RELATIVE(saved.out.cpu().to(at::kDouble).view(out.sizes()), out, wide ? 2e-6 : 4e-3);
  const AttentionGradient d = ops::device::flash_gradient(
      {there.q, there.k, there.v, segments, kind}, there.d_out, saved, kPlain);
  CHECK(d.k.sizes() == c.k.sizes() && d.k.scalar_type() == dtype);
  check_gradient(d, gradient, wide ? 2e-6 : 1e-2);
}

}  // namespace

CHECK_CASE(
    "packed attention: values and gradients on a device agree with autograd: prefixes, windows, "
    "caps") {
  at::manual_seed(60);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const AttentionKind& kind : kPackedKinds) check_device(Case(2, 3, 64, dtype), kind);
}

CHECK_CASE(
    "packed attention: values and gradients on a device agree with autograd, whatever the heads") {
  at::manual_seed(61);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [kv, group, d] : std::vector<std::array<int64_t, 3>>{
             {1, 1, 16}, {2, 4, 128}, {1, 2, 96}, {1, 2, 256}, {1, 37, 8}, {2, 1, 40}})
      for (const AttentionKind& kind : {AttentionKind{}, AttentionKind{0.1, 5, 40}})
        check_device(Case(kv, group, d, dtype), kind);
}

CHECK_CASE("packed attention: on a device it keeps what its gradient needs, whoever else goes") {
  at::manual_seed(62);
  const AttentionKind kind{0, 0, 50};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Case c(2, 2, 32, dtype), there = c.there();
    const auto [out, gradient] = expected(c, kPackedSegments, kind);
    const at::AutoGradMode grad(true);
    const auto leaf = [](const Tensor& x) { return x.clone().requires_grad_(true); };
    const Tensor q = leaf(there.q), k = leaf(there.k), v = leaf(there.v);
    Tensor actual;
    {
      const std::vector<Segment> passing = kPackedSegments;
      const AttentionKind gone = kind;
      actual = ops::packed_attention(q, k, v, passing, gone);
    }
    const auto d = torch::autograd::grad({actual}, {q, k, v}, {there.d_out});
    check_gradient({d[0], d[1], d[2]}, gradient,
                   dtype == at::kFloat ? 1e-5 : check::allowed(1e-2, 2e-2));
  }
}

CHECK_CASE("packed attention: on a device, heads that the kernels do not take go the plain way") {
  at::manual_seed(64);
  for (const AttentionKind& kind : {AttentionKind{0, 0, 40}, AttentionKind{0, 3, 0}})
    check_device(Case(1, 2, 12, at::kFloat), kind);
}

CHECK_CASE(
    "packed attention: what surrounds flash attention is right: the keys' gather, the ends, the "
    "gradients' way back") {
  at::manual_seed(63);
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const AttentionKind& kind : {AttentionKind{}, AttentionKind{0.2, 0, 0},
                                      AttentionKind{0, 0, 1}, AttentionKind{0, 0, 30}}) {
      check_flash(kPackedSegments, dtype, kind);
      check_flash({{0, 100, -1}, {100, 0, -1}, {100, 74, -1}}, dtype,
                  kind);  // no shared prefix, so nothing is gathered
    }
}

CHECK_CASE("packed attention: a batch's plan is found again by what its segments say") {
  const Tensor rows = to_device(at::zeros({kRows}));
  const auto first = ops::gather_plan(kPackedSegments, rows, rows);
  const auto tiles = ops::tile_plan(kPackedSegments, rows, rows, {8, 32});
  for (const Tensor& table : {first->index, first->offsets, first->sources, first->query_ends,
                              first->key_ends, tiles->queries, tiles->keys, tiles->viewers})
    CHECK(table.device() == rows.device());
  CHECK(ops::gather_plan(kPackedSegments, at::zeros({kRows}), at::zeros({kRows})) !=
        first);  // for another device
  const std::vector<Segment> copy = kPackedSegments;
  CHECK(ops::gather_plan(copy, rows, rows) == first);
  CHECK(ops::tile_plan(copy, rows, rows, {8, 32}) ==
        ops::tile_plan(kPackedSegments, rows, rows, {8, 32}));
  CHECK(ops::tile_plan(copy, rows, rows, {8, 32}) != ops::tile_plan(copy, rows, rows, {4, 32}));
  std::vector<Segment> other = kPackedSegments;
  other[2].prefix = -1;
  CHECK(ops::gather_plan(other, rows, rows) != first);
  for (int64_t n = 1; n < 6; ++n)
    ops::gather_plan({{0, n, -1}}, to_device(at::zeros({n})), to_device(at::zeros({n})));
  CHECK(at::equal(ops::gather_plan(kPackedSegments, rows, rows)->index,
                  first->index));  // evicted and computed again
  CHECK_THROWS(internal, "cover the 174 rows", ops::gather_plan({{0, 3, -1}}, rows, rows));
  CHECK_THROWS(internal, "prefix",
               ops::gather_plan({{0, 3, -1}, {3, 3, 0}, {6, 168, 1}}, rows, rows));
}

CHECK_CASE(
    "packed attention: queries may end before the keys: a prompt's next chunk attends to the "
    "cached prefix") {
  at::manual_seed(64);
  const std::vector<Segment> segments = {
      {0, 60, 2},
      {60, 13, -1},
      {73, 80, -1},
      {153, 21, -1}};  // 73 queries; no query attends to the last keys
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const AttentionKind& kind : kPackedKinds) {
      const Case c(2, 3, 64, dtype);
      const Case there = c.there();
      const Tensor q = c.q.narrow(0, 0, 73);
      const Tensor whole =
          ops::reference::packed_attention(c.q.to(at::kDouble), c.k.to(at::kDouble),
                                           c.v.to(at::kDouble), segments, kind)
              .narrow(0, 0, 73);
      const double tolerance = dtype == at::kFloat ? 2e-6 : 4e-3;
      CHECK_RELATIVE(ops::reference::packed_attention(q, c.k, c.v, segments, kind).to(at::kDouble),
                     whole, tolerance);
      CHECK_RELATIVE(ops::device::packed_attention(sent(q), there.k, there.v, segments, kind)
                         .cpu()
                         .to(at::kDouble),
                     whole, tolerance);
      if (kind.softcap == 0)
        CHECK_RELATIVE(ops::device::flash_forward(sent(q), there.k, there.v, segments, kind, kPlain)
                           .out.cpu()
                           .to(at::kDouble)
                           .view(whole.sizes()),
                       whole, tolerance);
    }
}

template <class T>
static int64_t most_shared_memory(int d) {
  const int held = ops::tiles::most_held(d);
  return std::max({ops::tiles::AttendMemory<T>::most_bytes(held, d),
                   ops::QueryGradientBlock<T>::bytes(held, d),
                   ops::KeyGradientBlock<T>::bytes(held, d),
                   static_cast<int64_t>(sizeof(ops::PagedWarpBlock<128, true, false>::Memory)),
                   static_cast<int64_t>(sizeof(ops::warp_tiles::RowsMemory<128>))});
}

CHECK_CASE(
    "block: attention's shared memory fits the smallest GPU of capability 8.0 and up, whatever the "
    "head") {
  constexpr int64_t least = 99 << 10,
                    reductions = 1 << 10;  // of 8.6, 8.9 and 12.0; what the compiler lays beside it
  for (int d = 8; d <= 256; d += 8)
    CHECK(most_shared_memory<float>(d) <= least - reductions &&
          most_shared_memory<uint16_t>(d) <= least - reductions);
}
