// Packed attention by ATen's variable-length flash attention (bf16 on NVIDIA GPUs, tensor cores, no
// soft cap). The two ATen calls are replaceable, so that tests without a GPU cover the code around
// them.
#pragma once

#include "ops/attention/device.h"
#include "ops/attention/plan.h"

namespace cream::ops::device {

// Sequences of queries and keys, delimited as in GatherPlan; causal, aligned at the sequence's end.
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

// The saved call that the gradient belongs to.
struct PackedCall {
  Tensor q, k, v;
  const std::vector<Segment>& segments;
  const AttentionKind& kind;
};
AttentionGradient flash_gradient(const PackedCall& call, const Tensor& d_out,
                                 const PackedSaved& saved, const FlashCalls& calls = aten_flash);

}  // namespace cream::ops::device
