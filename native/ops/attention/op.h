// Softmax attention, grouped-query: query head h reads key/value head h / (heads / kv_heads).
// `packed`: whole segments at once (scoring, training, prefill). `decode`: one new row a sequence
// against its cache.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "support/torch.h"

namespace cream {

// Rows start … start+length of a packed batch. A segment sees itself causally and all of its prefix
// segment; a prefix has no prefix of its own.
struct Segment {
  int64_t start = 0;
  int64_t length = 0;
  int32_t prefix = -1;  // index of the segment this one continues; −1: none

  bool operator==(const Segment&) const = default;
};

// What a layer does to scores, and how far back it looks.
struct AttentionKind {
  double scale = 0;    // of q·kᵀ; 0: 1/sqrt(head_dim)
  double softcap = 0;  // scores s become c·tanh(s / c); 0: as they are
  int64_t window =
      0;  // positions that a row sees, its own included, counted through its prefix; 0: all

  double scale_of(int64_t head_dim) const {
    return scale > 0 ? scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
  }
};

// Keys and values that one decoding row sees: a part shared with its siblings and a part of its
// own. Both are [kv_heads, capacity, head_dim], contiguous, of the cache's dtype; only the first
// `*_length` positions are valid.
struct DecodeSource {
  const void* shared_keys = nullptr;
  const void* shared_values = nullptr;
  int64_t shared_length = 0, shared_capacity = 0;
  const void* own_keys = nullptr;
  const void* own_values = nullptr;
  int64_t own_length = 0, own_capacity = 0;  // the new row's key and value included
};

namespace ops {

// q [tokens, heads, d], k and v [tokens, kv_heads, d] → [tokens, heads·d]; differentiable.
// Without a gradient q may end before k and v do: the segments behind its rows are keys alone, as
// the prefix of a prompt that is computed in pieces is. No segment lies on both sides.
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind = {});

// Gradients of packed_attention, in the inputs' dtype and shapes. d_out [tokens, heads·d].
struct AttentionGradient {
  Tensor q, k, v;
};
AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind = {});

// q [rows, heads, d] → [rows, heads·d]. Rows that share the same `shared_keys` should be
// neighbours: the kernel reads those once.
Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads,
                        const AttentionKind& kind = {});

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
