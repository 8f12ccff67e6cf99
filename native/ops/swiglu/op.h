// y = silu(gate) · up (Shazeer 2020).
#pragma once

#include "support/torch.h"

namespace cream::ops {

Tensor swiglu(const Tensor& gate_up);  // [rows, 2·n]: gate, then up → [rows, n]; differentiable

namespace reference {
Tensor swiglu(const Tensor& gate_up);
}

}  // namespace cream::ops
