#include "ops/attention/paged.h"

namespace cream::ops {

Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows, const AttentionKind& kind) {
  return reference::paged_decode_attention(q, cache, rows, kind);
}

}  // namespace cream::ops
