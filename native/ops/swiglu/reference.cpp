// y = silu(gate) · up, each step rounded to the tensor's dtype as transformers' LlamaMLP does.
#include "ops/swiglu/op.h"

namespace cream::ops::reference {

Tensor swiglu(const Tensor& gate_up) {
  const int64_t n = gate_up.size(-1) / 2;
  return at::silu(gate_up.narrow(-1, 0, n)) * gate_up.narrow(-1, n, n);
}

}  // namespace cream::ops::reference
