// y = c·tanh(x / c): bounds logits by ±c and hardly changes small ones (Gemma Team 2024, "Gemma 2",
// section 2.1).
#pragma once

#include "support/torch.h"

namespace cream::ops {

// In place, x fp32; c = 0 leaves x unchanged. Elements are independent. Not differentiable. On a
// GPU it gives the bits of soft_cap() (token_logprob/block.h), with which logits are scored.
void softcap_(Tensor& x, double c);

// dy/dx = 1 − (y / c)² from the capped value y: [rows, columns] fp32, like y.
Tensor softcap_slope(const Tensor& y, double c);

namespace reference {
void softcap_(Tensor& x, double c);
}

}  // namespace cream::ops
