#include "ops/attention/op.h"

namespace cream::ops {

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Segment>& segments) {
  return reference::packed_attention(q, k, v, segments);
}
Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads) {
  return reference::decode_attention(q, sources, kv_heads);
}

}  // namespace cream::ops
