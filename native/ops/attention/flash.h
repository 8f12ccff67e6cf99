// Packed attention by ATen's flash attention over variable lengths, which NVIDIA GPUs have for
// bf16: tensor cores, no cap on scores. The two calls are replaceable, so that all around them is
// tested where there is no GPU.
#pragma once

#include "ops/attention/device.h"
#include "ops/attention/plan.h"

namespace cream::ops::device {

// Sequences of queries and their keys, ends as in GatherPlan; causal, aligned at the sequence's
// end.
struct FlashInput {
  Tensor q, k, v;  // [tokens, heads, d], [keys, kv_heads, d] twice
  const GatherPlan& plan;
  double scale;
  int64_t window;  // 0: none
};
struct FlashCalls {
  PackedSaved (*forward)(const FlashInput&);
  AttentionGradient (*backward)(const FlashInput&, const Tensor& d_out,
                                const PackedSaved&);  // k and v [keys, kv_heads, d]
};
extern const FlashCalls aten_flash;

bool takes_flash(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionKind& kind);
PackedSaved flash_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<Segment>& segments, const AttentionKind& kind,
                          const FlashCalls& calls = aten_flash);

// What the gradient is of.
struct PackedCall {
  Tensor q, k, v;
  const std::vector<Segment>& segments;
  const AttentionKind& kind;
};
AttentionGradient flash_gradient(const PackedCall& call, const Tensor& d_out,
                                 const PackedSaved& saved, const FlashCalls& calls = aten_flash);

}  // namespace cream::ops::device
