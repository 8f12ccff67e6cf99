// Rotary position embedding in the rotate-half layout: y = x·cos + rotate_half(x)·sin (Su et al.
// 2021; Hugging Face pairs entries i and i + head_dim/2).
#pragma once

#include "support/torch.h"

namespace cream::ops {

// x [rows, heads, head_dim]; cos, sin [rows, rotary_dim] fp32 → same shape and dtype as x;
// differentiable. If rotary_dim < head_dim, the first rotary_dim entries of a head are paired (i
// and i + rotary_dim/2) and the others are unchanged.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);

// A joined projection before RoPE: qkv [rows, (heads + 2·kv_heads)·head_dim] with queries, then
// keys, then values.
struct JoinedHeads {
  const Tensor &qkv, &cos, &sin;
  int64_t heads, kv_heads;
};
// Its heads, each [rows, …, head_dim], with queries and keys rotated; differentiable.
struct AttentionHeads {
  Tensor q, k, v;
};
AttentionHeads rope_heads(const JoinedHeads& joined);

namespace device {
// Writes x rotated, or rotated back, to y: both bf16 or fp32 [rows, heads, d] with the heads of a
// row contiguous; rows may be strided.
void rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& y, bool back);
}  // namespace device

namespace reference {
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);
}

}  // namespace cream::ops
