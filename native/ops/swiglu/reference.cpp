// y = f(gate) · up, each step rounded to the tensor's dtype as in transformers' LlamaMLP and
// Gemma2MLP.
#include "ops/swiglu/op.h"

namespace cream::ops::reference {

Tensor swiglu(const Tensor& gate_up, Activation activation) {
  const int64_t n = gate_up.size(-1) / 2;
  const Tensor gate = gate_up.narrow(-1, 0, n);
  return (activation == Activation::silu ? at::silu(gate) : at::gelu(gate, "tanh")) *
         gate_up.narrow(-1, n, n);
}

}  // namespace cream::ops::reference
