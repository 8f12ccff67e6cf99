#include "ops/swiglu/op.h"

namespace cream::ops {

Tensor swiglu(const Tensor& gate_up) { return reference::swiglu(gate_up); }

}  // namespace cream::ops
