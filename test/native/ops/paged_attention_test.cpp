// Decode attention over pages: the plain op against a row-by-row reference, and the kernels, on the
// emulated device or a GPU, against the plain op.
#include "check.h"
#include "ops/attention/device.h"
#include "ops/attention/paged.h"
#include "support/block.h"
#include "test_device.h"

using namespace cream;
using at::Tensor;
using check::to_device;

namespace {

// The sequences of one prompt, or a single sequence: the positions of each, and the number of
// shared full pages.
struct Family {
  std::vector<int64_t> lengths;
  int64_t shared_pages = 0;
  bool grouped = true;
};

struct Step {
  Tensor q, cache;
  PagedRows rows;
};

// Unused positions of pages are NaN, pages are assigned in reverse order, and unused entries of the
// page table are −1.
Step step_of(const std::vector<Family>& families, int64_t kv_heads, int64_t group, int64_t d,
             at::ScalarType dtype) {
  int64_t count = 0, longest = 0, pages = 1;
  for (const Family& f : families)
    for (const int64_t length : f.lengths)
      ++count, longest = std::max(longest, length), pages += (length + page_size - 1) / page_size;
  const int64_t max_pages = (longest + page_size - 1) / page_size + 2;
  std::vector<int32_t> table(count * max_pages, -1), lengths, groups(count * 4, 0);
  Step step{at::randn({count, (kv_heads * group + 2) * d})
                .to(dtype)
                .narrow(1, d, kv_heads * group * d)
                .unflatten(1, {kv_heads * group, d}),
            at::full({pages, 2, kv_heads, page_size, d}, NAN, dtype),
            {}};
  int64_t next = pages - 1, row = 0, g = 0;
  const auto fill = [&](int64_t page, int64_t positions) {
    step.cache[page].narrow(2, 0, positions).copy_(at::randn({2, kv_heads, positions, d}));
    return static_cast<int32_t>(page);
  };
  for (const Family& f : families) {
    std::vector<int32_t> shared;
    for (int64_t i = 0; i < f.shared_pages; ++i) shared.push_back(fill(next--, page_size));
    if (f.grouped)
      groups[4 * g] = static_cast<int32_t>(row),
                 groups[4 * g + 1] = static_cast<int32_t>(f.lengths.size()),
                 groups[4 * g++ + 2] = static_cast<int32_t>(f.shared_pages);
    for (const int64_t length : f.lengths) {
      for (int64_t i = 0; i * page_size < length; ++i)
        table[row * max_pages + i] =
            i < f.shared_pages ? shared[i]
                               : fill(next--, std::min(page_size, length - i * page_size));
      lengths.push_back(static_cast<int32_t>(length));
      if (f.grouped && f.lengths.size() > 1)
        groups[4 * row + 3] = static_cast<int32_t>(f.shared_pages);
      ++row;
    }
  }
  step.rows = {at::tensor(table, at::kInt).view({count, max_pages}), at::tensor(lengths, at::kInt),
               at::tensor(groups, at::kInt).view({count, 4}), longest + 3};
  return step;
}

// A copy on the device; the queries remain a slice of the joined projection.
Step sent(const Step& s) {
  const Tensor q = at::zeros({s.q.size(0), s.q.size(1) + 2, s.q.size(2)},
                             s.q.options().device(check::test_device()))
                       .narrow(1, 1, s.q.size(1));
  q.copy_(s.q);
  return {q,
          to_device(s.cache),
          {to_device(s.rows.page_table), to_device(s.rows.lengths), to_device(s.rows.groups),
           s.rows.max_length}};
}

Tensor one_by_one(const Step& s, const AttentionKind& kind) {
  const int64_t heads = s.q.size(1), d = s.q.size(2), group = heads / s.cache.size(2);
  Tensor out = at::zeros({s.q.size(0), heads, d}, at::kDouble);
  for (int64_t row = 0; row < s.q.size(0); ++row) {
    std::vector<Tensor> keys, values;
    const int64_t length = s.rows.lengths[row].item<int64_t>();
    for (int64_t p = kind.window > 0 ? std::max<int64_t>(0, length - kind.window) : 0; p < length;
         ++p) {
      const Tensor at_page = s.cache[s.rows.page_table[row][p / page_size].item<int64_t>()]
                                 .select(2, p % page_size)
                                 .to(at::kDouble);  // [2, kv_heads, d]
      keys.push_back(at_page[0].repeat_interleave(group, 0)),
          values.push_back(at_page[1].repeat_interleave(group, 0));
    }
    if (keys.empty()) continue;
    Tensor scores =
        (s.q[row].to(at::kDouble) * at::stack(keys)).sum(-1) * kind.scale_of(d);  // [seen, heads]
    if (kind.softcap > 0) scores = at::tanh(scores / kind.softcap) * kind.softcap;
    out[row] = (at::softmax(scores, 0).unsqueeze(-1) * at::stack(values)).sum(0);
  }
  return out.view({s.q.size(0), heads * d});
}

const std::vector<AttentionKind> kPagedKinds = {{},         {0.2, 0, 0},  {0, 3, 0},   {0, 0, 1},
                                                {0, 0, 30}, {0.3, 2, 70}, {0, 0, 1000}};

// Sequences of one prompt, a single sequence in a group and one in none, idle rows inside and
// outside a group, lengths at page boundaries.
const std::vector<Family> kFamilies = {{{50, 49, 33, 81}, 2}, {{0}, 0, false}, {{1}, 0, false},
                                       {{17, 16}, 0},         {{160}, 3},      {{0, 129, 145}, 8},
                                       {{64}, 0, false}};

void check_against_reference(const std::vector<Family>& families, std::array<int64_t, 3> shape,
                             at::ScalarType dtype, const AttentionKind& kind) {
  const Step s = step_of(families, shape[0], shape[1], shape[2], dtype);
  const Step there = sent(s);
  const Tensor out = ops::paged_decode_attention(there.q, there.cache, there.rows, kind);
  CHECK(out.device() == check::test_device());
  CHECK_RELATIVE(out.cpu().to(at::kFloat),
                 ops::reference::paged_decode_attention(s.q, s.cache, s.rows, kind).to(at::kFloat),
                 dtype == at::kFloat ? 2e-6 : 4e-3);
  CHECK(at::equal(out, ops::paged_decode_attention(there.q, there.cache, there.rows, kind)));
}

}  // namespace

CHECK_CASE("paged attention: the plain op is what each row sees, position by position") {
  at::manual_seed(50);
  for (const AttentionKind& kind : kPagedKinds) {
    const Step s = step_of(kFamilies, 2, 3, 16, at::kFloat);
    CHECK_RELATIVE(ops::paged_decode_attention(s.q, s.cache, s.rows, kind).to(at::kDouble),
                   one_by_one(s, kind), 1e-6);
  }
}

CHECK_CASE("paged attention: the kernels agree with the plain op, whatever the heads") {
  at::manual_seed(51);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const AttentionKind& kind : kPagedKinds)
      check_against_reference(kFamilies, {2, 3, 64}, dtype, kind);
    for (const auto& shape : std::vector<std::array<int64_t, 3>>{{1, 1, 16},
                                                                 {3, 3, 64},
                                                                 {2, 4, 128},
                                                                 {1, 2, 96},
                                                                 {2, 1, 256},
                                                                 {1, 8, 256},
                                                                 {1, 40, 40},
                                                                 {1, 2, 176}})
      for (const AttentionKind& kind : {AttentionKind{}, AttentionKind{0.1, 5, 40}})
        check_against_reference(kFamilies, shape, dtype, kind);
  }
}

CHECK_CASE(
    "paged attention: the kernels agree with the plain op where groups are larger than a block and "
    "rows many") {
  at::manual_seed(52);
  check_against_reference({{std::vector<int64_t>(21, 83), 5}}, {1, 3, 64}, at::kBFloat16, {});
  check_against_reference({{std::vector<int64_t>(21, 83), 5}}, {1, 3, 64}, at::kFloat, {0, 0, 20});
  std::vector<Family> pairs;  // more groups than entries of the grid
  for (int64_t i = 0; i < 40; ++i) pairs.push_back({{40 + i, 33 + 2 * i}, 2});
  check_against_reference(pairs, {2, 2, 64}, at::kBFloat16, {});
  check_against_reference({{{1200, 1100}, 60}, {{700}, 0, false}}, {1, 4, 64}, at::kFloat, {});
  check_against_reference({{{1200, 1100}, 60}, {{700}, 0, false}}, {1, 4, 64}, at::kFloat,
                          {0, 0, 100});
  check_against_reference({{{3100, 3000}, 180}}, {1, 4, 64}, at::kBFloat16, {});
}

CHECK_CASE(
    "paged attention: a row's bits do not depend on the rows beside it, on who shares its pages, "
    "nor on the longest") {
  at::manual_seed(53);
  // Prompts with one and several splits, with full and partial last pages; a group with more
  // queries than a block holds, idle rows included.
  const std::vector<Family> families = {
      {{150, 141, 0, 200}, 8},  {{300, 310}, 17}, {{0}, 0, false},
      {{1200, 1190, 1188}, 70}, {{130}, 8},       {std::vector<int64_t>(13, 260), 16}};
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& shape :
         std::vector<std::array<int64_t, 3>>{{2, 3, 64}, {1, 4, 128}, {1, 1, 40}})
      for (const AttentionKind& kind : {AttentionKind{}, AttentionKind{0.2, 3, 0},
                                        AttentionKind{0, 0, 90}, AttentionKind{0, 0, 400}}) {
        const Step s = sent(step_of(families, shape[0], shape[1], shape[2], dtype));
        const Tensor together = ops::device::paged_decode_attention(s.q, s.cache, s.rows, kind);
        const Tensor none = at::zeros_like(s.rows.groups);
        CHECK(at::equal(
            together,
            ops::device::paged_decode_attention(
                s.q, s.cache, {s.rows.page_table, s.rows.lengths, none, s.rows.max_length}, kind)));
        for (int64_t row = 0; row < s.q.size(0); ++row) {
          const PagedRows alone{s.rows.page_table.narrow(0, row, 1),
                                s.rows.lengths.narrow(0, row, 1), none.narrow(0, row, 1),
                                s.rows.lengths[row].item<int64_t>()};
          CHECK(at::equal(together[row], ops::device::paged_decode_attention(
                                             s.q.narrow(0, row, 1), s.cache, alone, kind)[0]));
        }
      }
}

CHECK_CASE("paged attention: the layers of a step share a plan, which holds for its rows alone") {
  at::manual_seed(54);
  const auto attend = [](const Step& s, const Tensor& plan, const AttentionKind& kind) {
    PagedRows rows = s.rows;
    rows.plan = plan;
    return ops::paged_decode_attention(s.q, s.cache, rows, kind);
  };
  for (const AttentionKind& kind :
       {AttentionKind{}, AttentionKind{0, 3, 0}, AttentionKind{0, 0, 90}}) {
    // Many items for each block, and items of more queries than a block holds.
    std::vector<Family> families = kFamilies;
    families.push_back({std::vector<int64_t>(19, 400), 20});
    for (int64_t i = 0; i < 20; ++i) families.push_back({{300 + 7 * i, 290}, 9});
    const Step first = sent(step_of(families, 2, 4, 64, at::kBFloat16));
    Step second = sent(step_of(families, 2, 4, 64, at::kBFloat16));
    const Tensor plan = ops::paged_plan(first.q, first.cache, first.rows, kind);
    CHECK(plan.defined() && plan.device() == check::test_device());
    CHECK(at::equal(attend(first, plan, kind), attend(first, {}, kind)));
    CHECK(at::equal(attend(second, plan, kind), attend(second, {}, kind)));
    second.rows.lengths = at::zeros_like(second.rows.lengths);  // idle rows only
    const Tensor idle = ops::paged_plan(second.q, second.cache, second.rows, kind);
    CHECK(at::equal(attend(second, idle, kind),
                    at::zeros({second.q.size(0), 8 * 64}, first.q.options())));
  }
  const Step wide = sent(step_of(kFamilies, 1, 1, 256, at::kBFloat16));
  CHECK(!ops::paged_plan(wide.q, wide.cache, wide.rows).defined());
}

CHECK_CASE("paged attention: a step whose cut or tables cannot be served says so") {
  Step s = sent(step_of({{{20}, 0}}, 1, 1, 16, at::kFloat));
  s.rows.max_length = 1000;
  CHECK_THROWS(internal, "page tables for 64",
               ops::paged_decode_attention(s.q, s.cache, s.rows, {}));
  s.rows.lengths = s.rows.lengths.to(at::kLong);
  CHECK_THROWS(internal, "int32", ops::paged_decode_attention(s.q, s.cache, s.rows, {}));
}

CHECK_CASE("block: what a thread keeps lives from one pass to the next") {
  struct Squares {
    int64_t* to;
    void operator()(HostBlock& block) const {
      auto kept = block.keep(40, int64_t{1});
      block.each(40, [&](int64_t i) { kept[i] += i; });
      block.each(40, [&](int64_t i) { to[block.index() * 40 + i] = kept[i] * kept[i]; });
    }
  };
  std::vector<int64_t> out(80);
  run_on_host(Squares{out.data()}, {2, 64});
  for (int64_t i = 0; i < 80; ++i) CHECK(out[i] == (i % 40 + 1) * (i % 40 + 1));
}
