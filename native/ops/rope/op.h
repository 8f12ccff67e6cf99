// Rotary position embedding, rotate-half layout: y = x·cos + rotate_half(x)·sin (Su et al. 2021; Hugging Face's pairing of i and i + head_dim/2).
#pragma once

#include "support/torch.h"

namespace cream::ops {

// x [rows, heads, head_dim]; cos, sin [rows, turned] fp32 → same shape and dtype as x; differentiable. Where turned < head_dim, the
// first `turned` entries of a head are paired (i and i + turned/2) and the others stay as they are.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);

namespace reference {
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);
}

}  // namespace cream::ops
