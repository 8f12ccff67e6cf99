// Rotary position embedding, rotate-half layout: y = x·cos + rotate_half(x)·sin (Su et al. 2021; Hugging Face's pairing of i and i + head_dim/2).
#pragma once

#include "support/torch.h"

namespace cream::ops {

// x [rows, heads, head_dim]; cos, sin [rows, turned] fp32 → same shape and dtype as x; differentiable. Where turned < head_dim, the
// first `turned` entries of a head are paired (i and i + turned/2) and the others stay as they are.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);

// The joined projection [rows, (heads + 2·kv_heads)·head_dim] → its heads [rows, …, head_dim], queries and keys turned; differentiable.
struct AttentionHeads {
  Tensor q, k, v;
};
AttentionHeads rope_heads(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, int64_t kv_heads);

namespace device {  // bf16 and fp32; cos and sin contiguous fp32 without a gradient
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);
AttentionHeads rope_heads(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, int64_t kv_heads);
}  // namespace device

namespace reference {
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);
}

}  // namespace cream::ops
