// y = c·tanh(x / c): keeps logits within ±c and leaves small ones as they are (Gemma Team 2024,
// "Gemma 2", section 2.1).
#pragma once

#include "support/torch.h"

namespace cream::ops {

// In place, x fp32; c = 0 leaves x alone. An element's result depends on that element only. No
// gradient.
void softcap_(Tensor& x, double c);

// dy/dx = 1 − (y / c)² at y, the capped value: [rows, columns] fp32, like y.
Tensor softcap_slope(const Tensor& y, double c);

namespace reference {
void softcap_(Tensor& x, double c);
}

}  // namespace cream::ops
