#include "generate/paged_attention.h"

#include "ops/pages/op.h"

namespace cream {

Tensor PagedPrefill::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  ops::write_pages(k, v, cache_.layer(layer.index), pages_, slots_);
  return ops::packed_attention(q, k, v, segments_, layer.kind);
}

Tensor PagedDecode::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  const Tensor cache = cache_.layer(layer.index);
  ops::write_pages(k, v, cache, rows_.pages, rows_.slots);
  return ops::paged_decode_attention(q, cache, seen_, layer.kind);
}

}  // namespace cream
