#include "generate/paged_attention.h"

#include "ops/attention/cuda.h"
#include "ops/pages/op.h"
#include "support/transfer.h"

namespace cream {

void PrefillRows::add(const Prefill& prompt, int64_t first, int64_t count) {
  segments.push_back({size(), count, first > 0 ? 1 : -1});
  for (int64_t i = first; i < first + count; ++i) {
    tokens.push_back(prompt.prompt->tokens[static_cast<size_t>(i)]);
    positions.push_back(i);
    pages.push_back(prompt.pages[i / page_size]);
    slots.push_back(static_cast<int32_t>(i % page_size));
  }
  if (first > 0) segments.push_back({count, first, -1});
  for (int64_t page = 0; page < first / page_size; ++page) past.push_back(prompt.pages[page]);
}

PagedPrefill::PagedPrefill(const PagedCache& cache, const PrefillRows& rows)
    : cache_(cache),
      segments_(rows.segments),
      pages_(upload(rows.pages, cache.storage().device())),
      slots_(upload(rows.slots, cache.storage().device())) {
  if (!rows.past.empty()) past_ = upload(rows.past, cache.storage().device());
}

Tensor PagedPrefill::with_past(const AttentionLayer& layer, int64_t which, const Tensor& x) const {
  const Tensor pages = cache_.layer(layer.index)
                           .select(1, which)
                           .index_select(0, past_);  // [pages, kv_heads, page_size, d]
  return at::cat({x, pages.transpose(1, 2).flatten(0, 1)});
}

Tensor PagedPrefill::over_keys(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                               const Tensor& v) const {
  if (!past_.defined()) return ops::packed_attention(q, k, v, segments_, layer.kind);
  return ops::packed_attention(q, with_past(layer, 0, k), with_past(layer, 1, v), segments_,
                               layer.kind);
}

Tensor PagedPrefill::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                            const Tensor& v) {
  ops::write_pages(k, v, cache_.layer(layer.index), pages_, slots_);
  return over_keys(layer, q, k, v);
}

Tensor PagedPrefill::attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) {
  const auto [q, k, v] =
      ops::rope_into_pages(joined, {cache_.layer(layer.index), pages_, slots_}, /*keys=*/true);
  return over_keys(layer, q, k, v);
}

Tensor PagedDecode::over_pages(const AttentionLayer& layer, const Tensor& q, const Tensor& cache) {
  const auto [plan, added] = plans_.try_emplace({layer.kind.window, layer.kind.softcap});
  if (added) plan->second = ops::paged_plan(q, cache, seen_, layer.kind);
  PagedRows seen = seen_;
  seen.plan = plan->second;
  return ops::paged_decode_attention(q, cache, seen, layer.kind);
}

Tensor PagedDecode::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                           const Tensor& v) {
  const Tensor cache = cache_.layer(layer.index);
  ops::write_pages(k, v, cache, step_.pages, step_.slots);
  return over_pages(layer, q, cache);
}

Tensor PagedDecode::attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) {
  const Tensor cache = cache_.layer(layer.index);
  const Tensor q =
      ops::rope_into_pages(joined, {cache, step_.pages, step_.slots}, /*keys=*/false).q;
  return over_pages(layer, q, cache);
}

uint64_t decode_buffer_bytes(const ModelConfig& config, int64_t sequences, int64_t length) {
  const int64_t values = ops::paged_scratch(sequences, config.num_heads, config.head_dim, length);
  return 4 * static_cast<uint64_t>(values);
}

}  // namespace cream
