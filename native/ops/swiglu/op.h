// y = f(gate) · up (Shazeer 2020): SwiGLU with f = silu, GeGLU with f = gelu_tanh, ½x(1 +
// tanh(√(2/π)(x + 0.044715x³))).
#pragma once

#include "support/activation.h"
#include "support/torch.h"

namespace cream::ops {

Tensor swiglu(const Tensor& gate_up,
              Activation activation =
                  Activation::silu);  // [rows, 2·n]: gate, then up → [rows, n]; differentiable

namespace device {
// bf16 and fp32, contiguous. Returns y if dy is undefined, otherwise the gradient of gate_up.
Tensor gate(const Tensor& gate_up, const Tensor& dy, Activation activation);
}  // namespace device

namespace reference {
Tensor swiglu(const Tensor& gate_up, Activation activation = Activation::silu);
}

}  // namespace cream::ops
