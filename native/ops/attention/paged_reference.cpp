// softmax(cap(scale·q·kᵀ))·v in decode over a paged cache, in plain ATen and fp32: gathers each
// row's pages, scores every position and masks what the row does not see. Groups are ignored, since
// sharing pages changes no result.
#include <limits>

#include "ops/attention/paged.h"

namespace cream::ops::reference {

Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind) {
  const at::NoGradGuard no_grad;
  const int64_t count = q.size(0), heads = q.size(1), d = q.size(2), kv_heads = cache.size(2),
                group = heads / kv_heads;
  const int64_t pages = std::min((rows.max_length + cache.size(3) - 1) / cache.size(3),
                                 rows.page_table.size(1)),
                seen = pages * cache.size(3);
  if (count == 0 || seen == 0) return at::zeros({count, heads * d}, q.options());
  // Entries after a row's last page are arbitrary: they are masked below but must be valid page
  // ids.
  const Tensor table =
      rows.page_table.narrow(1, 0, pages).clamp(0, cache.size(0) - 1).to(at::kLong).reshape({-1});
  const Tensor gathered = cache.index_select(0, table)
                              .to(at::kFloat)
                              .view({count, pages, 2, kv_heads, cache.size(3), d});
  const auto part = [&](int64_t which) {  // [rows, kv_heads, seen, d]
    return gathered.select(2, which).permute({0, 2, 1, 3, 4}).reshape({count, kv_heads, seen, d});
  };
  const Tensor position = at::arange(seen, q.options().dtype(at::kLong)).view({1, seen}),
               length = rows.lengths.to(at::kLong).view({count, 1});
  Tensor visible = position < length;  // [rows, seen]
  if (kind.window > 0) visible = visible.logical_and(position >= length - kind.window);
  const Tensor hidden = visible.logical_not().view({count, 1, seen, 1});
  // Hidden positions may be NaN, in values too, and 0·NaN is NaN: so they are zeroed.
  const Tensor k = part(0).masked_fill(hidden, 0), v = part(1).masked_fill(hidden, 0);
  const Tensor query = q.to(at::kFloat).reshape({count, kv_heads, group, d});
  Tensor scores =
      at::matmul(query, k.transpose(2, 3)) * kind.scale_of(d);  // [rows, kv_heads, group, seen]
  if (kind.softcap != 0) scores = at::tanh(scores / kind.softcap) * kind.softcap;
  scores =
      scores.masked_fill(hidden.view({count, 1, 1, seen}), -std::numeric_limits<float>::infinity());
  const Tensor out = at::matmul(at::softmax(scores, -1), v).view({count, heads * d});
  return out.masked_fill(length == 0, 0).to(q.scalar_type());  // an idle row's softmax is 0/0
}

}  // namespace cream::ops::reference
