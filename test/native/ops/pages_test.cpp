// Pages of a device's KV cache: their ownership, writes to them, and a decode step's update of its
// rows' states.
#include "check.h"
#include "model/paged_cache.h"
#include "ops/decode_step/block.h"
#include "ops/decode_step/op.h"
#include "ops/dispatch.h"
#include "ops/pages/block.h"
#include "ops/pages/op.h"
#include "test_device.h"
#include "tiny_model.h"

using namespace cream;
using check::to_device;

CHECK_CASE("pages: what is taken comes back with its holder, and a page changes hands") {
  PagePool pool(4);
  {
    Pages prompt(pool, 2), own;
    CHECK(pool.free() == 2 && prompt[0] == 0 && prompt[1] == 1);
    own = Pages(pool, 1);
    own.take_last_of(prompt);
    CHECK(prompt.size() == 1 && own.size() == 2 && own[0] == 1 && own[1] == 2 && pool.free() == 1);
    prompt = Pages();
    CHECK(pool.free() == 2);
    Pages moved = std::move(own);
    CHECK(pool.free() == 2 && moved.size() == 2);
    CHECK_THROWS(internal, "2 free pages where 3 were taken", Pages(pool, 3));
  }
  CHECK(pool.free() == 4);
}

CHECK_CASE(
    "pages: rows are written where they belong and nowhere else, from strided projections too") {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t d : {16, 12, 3}) {
      const int64_t rows = 6, kv_heads = 3, pages = 5, size = 4;
      const Tensor k = at::randn({rows, kv_heads, d}).to(dtype),
                   joined = at::randn({rows, 2 * kv_heads * d}).to(dtype);
      const Tensor v = joined.narrow(1, kv_heads * d, kv_heads * d).view({rows, kv_heads, d});
      const Tensor page = at::tensor({4, 0, -1, 2, 3, 3}, at::kInt),
                   slot = at::tensor({0, 1, 3, 2, 0, 1}, at::kInt);
      const Tensor cache = to_device(at::zeros({pages, 2, kv_heads, size, d}, k.options()));
      ops::write_pages(
          to_device(k),
          to_device(joined).narrow(1, kv_heads * d, kv_heads * d).view({rows, kv_heads, d}), cache,
          to_device(page), to_device(slot));
      Tensor expected = at::zeros(cache.sizes(), k.options());
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t p = page[r].item<int64_t>();
        if (p < 0) continue;
        expected[p][0].select(1, slot[r].item<int64_t>()).copy_(k[r]);
        expected[p][1].select(1, slot[r].item<int64_t>()).copy_(v[r]);
      }
      CHECK(at::equal(cache.cpu(), expected));
    }
}

CHECK_CASE("pages: RoPE on the way into pages gives the bits of turning first") {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t rotary_dim : {16, 6}) {
      const int64_t rows = 5, heads = 4, kv_heads = 2, d = 16, size = 4;
      const Tensor qkv = to_device(at::randn({rows, (heads + 2 * kv_heads) * d}).to(dtype)),
                   angles = at::randn({rows, rotary_dim / 2}), both = at::cat({angles, angles}, 1);
      const Tensor cos = to_device(both.cos()), sin = to_device(both.sin()),
                   page = to_device(at::tensor({2, -1, 0, 2, 1}, at::kInt)),
                   slot = to_device(at::tensor({3, 1, 0, 2, 3}, at::kInt));
      const ops::JoinedHeads joined{qkv, cos, sin, heads, kv_heads};
      const ops::AttentionHeads expected = ops::rope_heads(joined);
      const Tensor written = at::zeros({3, 2, kv_heads, size, d}, qkv.options()),
                   cache = at::zeros_like(written), again = at::zeros_like(written);
      ops::write_pages(expected.k, expected.v, written, page, slot);
      const ops::AttentionHeads all = ops::rope_into_pages(joined, {cache, page, slot},
                                                           /*keys=*/true),
                                queries = ops::rope_into_pages(joined, {again, page, slot},
                                                               /*keys=*/false);
      CHECK(at::equal(cache, written) && at::equal(again, written) && !queries.k.defined() &&
            at::equal(queries.q, expected.q));
      CHECK(at::equal(all.q, expected.q) && at::equal(all.k, expected.k) &&
            at::equal(all.v, expected.v));
      CHECK_THROWS(internal, "dtype",
                   ops::rope_into_pages(joined, {cache.to(at::kDouble), page, slot}, false));
    }
}

CHECK_CASE("pages: copies go to every layer") {
  const Tensor before = at::randn({3, 7, 2, 2, 4, 6}), cache = to_device(before.clone());
  const Tensor from = at::tensor({6, 6, 1}, at::kInt), to = at::tensor({0, 3, 2}, at::kInt);
  ops::copy_pages(cache, to_device(from), to_device(to));
  CHECK(
      at::equal(cache.cpu(), before.index_copy(1, to.to(at::kLong), before.index_select(1, from))));
}

CHECK_CASE("pages: a decode step's inputs, places and draws come from the rows' states") {
  SamplingParams sampling;
  sampling.temperature = 0.5;
  sampling.top_p = 0.9;
  sampling.top_k = 12;
  sampling.min_new_tokens = 2;
  sampling.stop_ids = {3, 4, 5};
  ops::DecodeStep rows(4, 3, 5, check::test_device());
  const SampleKey key{99, 3, 0x123456789abcdef0ull, 7};
  std::vector<int64_t> states;
  // its first new token opens the second page
  ops::append_state({key, 16, sampling}, states);
  ops::append_state({}, states);
  ops::append_state({key, 40, sampling}, states);
  SamplingParams other;  // of another request: greedy, without a minimum
  other.temperature = 0, other.stop_ids = {1, 2};
  ops::append_state({key, 5, other}, states);
  rows.state.copy_(at::tensor(at::ArrayRef<int64_t>(states)).view({4, -1}));
  rows.page_table.copy_(at::arange(12, at::kInt).view({4, 3}));
  rows.drawn[0].copy_(at::tensor({60, 61, 62, -1}, at::kInt));
  Tensor here;
  const auto draws = [&] {
    return here = rows.draws.cpu(), static_cast<const ops::SampleRow*>(here.const_data_ptr());
  };

  rows.positions.fill_(77);
  ops::advance(rows, 16, /*from_prompt=*/true);
  CHECK(at::equal(rows.positions.cpu(), at::full({4}, 77, at::kLong)));
  for (const int i : {0, 2, 3})
    CHECK(draws()[i].u == uniform(key, 0) && draws()[i].ban_count == (i == 3 ? 0 : 3) &&
          draws()[i].ban_first == 5 * i);
  for (int32_t step = 1; step <= 3; ++step) {
    ops::advance(rows, 16, /*from_prompt=*/false);
    CHECK(at::equal(rows.inputs.cpu(), at::tensor({60, 0, 62, 0}, at::kLong)));
    CHECK(at::equal(rows.positions.cpu(),
                    at::tensor({15 + step, 0, 39 + step, 4 + step}, at::kLong)));
    CHECK(at::equal(rows.lengths.cpu(), at::tensor({16 + step, 0, 40 + step, 5 + step}, at::kInt)));
    CHECK(at::equal(rows.pages.cpu(), at::tensor({1, -1, 8, 9}, at::kInt)));
    CHECK(at::equal(rows.slots.cpu(), at::tensor({step - 1, 0, 7 + step, 4 + step}, at::kInt)));
    CHECK(draws()[2].u == uniform(key, static_cast<uint32_t>(step)) &&
          draws()[2].ban_count == (step < 2 ? 3 : 0));
    CHECK(draws()[0].temperature == 0.5 && draws()[0].top_p == 0.9 && draws()[0].top_k == 12);
    CHECK(draws()[3].temperature == 0 && draws()[3].top_p == 1 && draws()[3].top_k == 0);
  }
}

CHECK_CASE("pages: a cache is one tensor, laid out as attention reads it") {
  const Transformer model = check::tiny_model();
  PagedCache cache(model.config(), at::kBFloat16, at::kCPU, 9);
  CHECK(cache.pages() == 9 && cache.pool().free() == 9 && cache.layer(2).is_contiguous());
  CHECK(cache.layer(2).sizes().vec() == (std::vector<int64_t>{9, 2, model.config().num_kv_heads,
                                                              page_size, model.config().head_dim}));
}
