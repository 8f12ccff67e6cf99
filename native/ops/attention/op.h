// Grouped-query softmax attention: query head h reads key/value head h / (heads / kv_heads).
// `packed_attention` takes whole segments (scoring, training, prefill); `decode_attention` takes
// one new token per sequence against its KV cache.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/attention/page.h"
#include "support/torch.h"

namespace cream {

// Rows start … start+length−1 of a packed batch. A segment attends to itself causally and to all of
// its prefix segment; a prefix has no prefix of its own.
struct Segment {
  int64_t start = 0;
  int64_t length = 0;
  int32_t prefix = -1;  // index of the segment this one continues; −1: none

  bool operator==(const Segment&) const = default;
};

// Scaling, soft cap and window of a layer's attention.
struct AttentionKind {
  double scale = 0;    // of q·kᵀ; 0: 1/sqrt(head_dim)
  double softcap = 0;  // scores s become c·tanh(s / c); 0: no cap
  int64_t window = 0;  // sliding window, own position included, counted through the prefix; 0: none

  double scale_of(int64_t head_dim) const {
    return scale > 0 ? scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
  }
};

// Keys and values of one sequence in decode: a part shared with completions of the same prompt and
// a part of its own. Both are [kv_heads, capacity, head_dim], contiguous, in the cache's dtype;
// only the first `*_length` positions are valid. The first `*_grouped` keys of each head, a
// multiple of 16, lie in groups transposed by group_keys().
struct DecodeSource {
  const void* shared_keys = nullptr;
  const void* shared_values = nullptr;
  int64_t shared_length = 0, shared_capacity = 0;
  const void* own_keys = nullptr;
  const void* own_values = nullptr;
  int64_t own_length = 0, own_capacity = 0;  // includes the new token's key and value
  int64_t shared_grouped = 0, own_grouped = 0;
};

namespace ops {

// q [tokens, heads, d], k and v [tokens, kv_heads, d] → [tokens, heads·d]; differentiable. Without
// a gradient, k and v may be longer than q: the segments of the extra rows are keys only, such as
// the cached prefix in chunked prefill. No segment may straddle the end of q.
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind = {});

// Gradients of packed_attention, in the dtype and shapes of the inputs. d_out [tokens, heads·d].
struct AttentionGradient {
  Tensor q, k, v;
};
AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind = {});

// q [rows, heads, d] → [rows, heads·d], one row per sequence. Rows with the same `shared_keys`
// should be adjacent: the kernel then reads those keys once.
Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads,
                        const AttentionKind& kind = {});

// Whether decode_attention, at the present level, need not transpose keys again in every step if
// the cache calls group_keys() on each full group of a head's keys [key_group, d], contiguous. The
// results are the same bits.
bool groups_keys(int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType dtype);
void group_keys(void* keys, int64_t d, at::ScalarType dtype);

// Whether packed_attention and decode_attention give a token the same bits whatever else is in the
// batch.
bool attention_is_batch_invariant(int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType dtype,
                                  const at::Device& device);

namespace reference {
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind = {});
AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind = {});
Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads,
                        const AttentionKind& kind = {});
}  // namespace reference

}  // namespace ops
}  // namespace cream
