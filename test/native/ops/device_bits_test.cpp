// In bf16 a device gives a row the same bits wherever it is computed: attention by pages and in a
// packed batch, products of any number of rows, and log-probs of sampling and of scoring.
#include "check.h"
#include "ops/attention/op.h"
#include "ops/attention/paged.h"
#include "ops/decode_step/op.h"
#include "ops/linear/op.h"
#include "ops/linear/product.h"
#include "ops/sample/row.h"
#include "ops/token_logprob/op.h"
#include "test_device.h"

using namespace cream;
using at::Tensor;
using check::to_device;

namespace {

Tensor random(at::IntArrayRef size) { return to_device(at::randn(size).to(at::kBFloat16)); }

// A prompt and its completions, as rows of one packed batch.
struct Batch {
  Tensor q, k, v;
  std::vector<Segment> segments;

  Batch(int64_t prompt, const std::vector<int64_t>& lengths, std::array<int64_t, 3> shape) {
    segments.push_back({0, prompt, -1});
    int64_t rows = prompt;
    for (const int64_t length : lengths) segments.push_back({rows, length, 0}), rows += length;
    const auto [kv_heads, group, d] = shape;
    q = random({rows, kv_heads * group, d}), k = random({rows, kv_heads, d}),
    v = random({rows, kv_heads, d});
  }
  int64_t prompt() const { return segments[0].length; }
};

// The last row of every completion against the keys and values up to it, in pages whose other
// positions are NaN.
Tensor decoded(const Batch& b, const AttentionKind& kind, bool shared) {
  const int64_t rows = static_cast<int64_t>(b.segments.size()) - 1, kv_heads = b.k.size(1),
                d = b.k.size(2), full = shared ? b.prompt() / page_size : 0;
  std::vector<Tensor> pages, queries;
  std::vector<std::vector<int32_t>> tables;
  std::vector<int32_t> lengths, groups(static_cast<size_t>(rows) * 4, 0);
  const auto add = [&](const Tensor& keys, const Tensor& values) {  // [n, kv_heads, d]
    const Tensor page = at::full({2, kv_heads, page_size, d}, NAN, keys.options());
    page[0].narrow(1, 0, keys.size(0)).copy_(keys.transpose(0, 1));
    page[1].narrow(1, 0, keys.size(0)).copy_(values.transpose(0, 1));
    pages.push_back(page);
    return static_cast<int32_t>(pages.size() - 1);
  };
  std::vector<int32_t> prompt_pages;
  for (int64_t page = 0; page < full; ++page)
    prompt_pages.push_back(add(b.k.narrow(0, page * page_size, page_size),
                               b.v.narrow(0, page * page_size, page_size)));
  int64_t most = 0;
  for (int64_t i = 1; i <= rows; ++i) {
    const Segment& s = b.segments[static_cast<size_t>(i)];
    const auto sequence = [&](const Tensor& x) {
      return at::cat({x.narrow(0, 0, b.prompt()), x.narrow(0, s.start, s.length)});
    };
    const Tensor keys = sequence(b.k), values = sequence(b.v);
    tables.push_back(prompt_pages);
    for (int64_t at = full * page_size; at < keys.size(0); at += page_size) {
      const int64_t n = std::min<int64_t>(page_size, keys.size(0) - at);
      tables.back().push_back(add(keys.narrow(0, at, n), values.narrow(0, at, n)));
    }
    lengths.push_back(static_cast<int32_t>(keys.size(0)));
    most = std::max(most, keys.size(0));
    queries.push_back(b.q[s.start + s.length - 1]);
  }
  if (full > 0) groups[1] = static_cast<int32_t>(rows), groups[2] = static_cast<int32_t>(full);
  for (int64_t row = 0; row < rows; ++row) groups[4 * row + 3] = static_cast<int32_t>(full);
  const int64_t columns = (most + page_size - 1) / page_size;
  std::vector<int32_t> table;
  for (auto& row : tables) row.resize(static_cast<size_t>(columns), -1);
  for (const auto& row : tables) table.insert(table.end(), row.begin(), row.end());
  return ops::paged_decode_attention(
      at::stack(queries), at::stack(pages),
      {to_device(at::tensor(table, at::kInt).view({rows, columns})),
       to_device(at::tensor(lengths, at::kInt)),
       to_device(at::tensor(groups, at::kInt).view({rows, 4})), most},
      kind);
}

}  // namespace

CHECK_CASE("device bits: a query attends by pages as in a packed batch, bit for bit") {
  at::manual_seed(70);
  for (const auto& shape :
       std::vector<std::array<int64_t, 3>>{{2, 3, 64}, {1, 4, 128}, {1, 1, 40}, {1, 20, 16}})
    for (const AttentionKind& kind :
         {AttentionKind{}, AttentionKind{0.2, 3, 0}, AttentionKind{0, 0, 90}})
      for (const int64_t prompt : {1, 70, 200}) {
        const Batch b(prompt, {41, 1, 90, 300}, shape);
        const Tensor packed = ops::packed_attention(b.q, b.k, b.v, b.segments, kind);
        for (const bool shared : {false, true}) {
          const Tensor paged = decoded(b, kind, shared);
          for (size_t i = 1; i < b.segments.size(); ++i)
            CHECK(at::equal(paged[static_cast<int64_t>(i) - 1],
                            packed[b.segments[i].start + b.segments[i].length - 1]));
        }
      }
}

CHECK_CASE("device bits: products of few rows are those of the plain op") {
  at::manual_seed(71);
  for (const auto& [rows, in, out] :
       std::vector<std::array<int64_t, 3>>{{1, 64, 40}, {5, 520, 24}, {16, 1032, 8}, {7, 8, 136}}) {
    const Tensor x = random({rows, in}), w = random({out, in});
    CHECK(ops::device::takes_thin(x, w));
    for (const auto dtype : {at::kBFloat16, at::kFloat}) {
      const Tensor y = at::full({rows, out}, NAN, x.options().dtype(dtype));
      ops::device::thin_product(x, w, y);
      CHECK_RELATIVE(y.cpu().to(at::kDouble),
                     at::mm(x.cpu().to(at::kDouble), w.cpu().to(at::kDouble).t()),
                     dtype == at::kFloat ? 1e-6 : 4e-3);
    }
  }
  CHECK(!ops::device::takes_thin(random({17, 64}), random({8, 64})));
  CHECK(!ops::device::takes_thin(random({4, 12}), random({8, 12})));
}

CHECK_CASE("device bits: a row of a product is the same whatever the number of rows") {
  if (!check::test_device().is_cuda())
    throw check::Skip("the emulated device has the CPU's products for more than 16 rows");
  at::manual_seed(72);
  for (const auto& [in, out] : std::vector<std::array<int64_t, 2>>{
           {576, 1536}, {2048, 3072}, {8192, 2048}, {2048, 24}, {40, 2048}})
    for (const auto dtype : {at::kBFloat16, at::kFloat}) {
      const Tensor x = random({3000, in}), w = random({out, in}).mul_(0.1);
      const Tensor all = ops::device::product(x, w, dtype);
      for (const int64_t rows : {1, 3, 16, 17, 64, 200, 513, 1500})
        CHECK(at::equal(ops::device::product(x.narrow(0, 5, rows), w, dtype),
                        all.narrow(0, 5, rows)));
      if (dtype == at::kFloat) continue;
      const Tensor y = random({3000, out}), low = random({3000, 32}), up = random({out, 32}),
                   sum = y.clone();
      ops::device::add_product(sum, low, up, 0.5);
      for (const int64_t rows : {1, 16, 100, 1500}) {
        const Tensor part = y.narrow(0, 7, rows).clone();
        ops::device::add_product(part, low.narrow(0, 7, rows), up, 0.5);
        CHECK(at::equal(part, sum.narrow(0, 7, rows)));
      }
    }
}

CHECK_CASE("device bits: a drawn token's log-prob is the one that scoring finds") {
  at::manual_seed(73);
  constexpr int64_t rows = 3;
  for (const int64_t vocab : {50, 16385, 50001, 65536}) {
    const Tensor logits = to_device(at::randn({rows, vocab}) * 4);
    const ops::DecodeStep step(rows, 1, 1, check::test_device());
    std::vector<ops::SampleRow> draws{
        {0, 1, 0.5, 0, 0, 0}, {1, 1, 0.7, 0, 0, 0}, {0.8, 0.9, 0.2, 40, 0, 0}};
    const Tensor words = at::empty({rows, 5}, at::kLong);
    std::memcpy(words.mutable_data_ptr(), draws.data(), sizeof(ops::SampleRow) * rows);
    step.draws.copy_(words);
    ops::draw(step, logits);
    const Tensor said = step.drawn[1].view(at::kFloat);
    CHECK(at::equal(said, ops::token_logprob(logits, step.drawn[0].to(at::kLong)).logprob));
  }
}
