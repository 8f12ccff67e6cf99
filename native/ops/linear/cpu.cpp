#include "ops/linear/op.h"

namespace cream::ops {

void pack(Linear&) {}
void unpack(Linear& linear) { linear.packed.reset(); }
Tensor linear(const Tensor& x, const Linear& w) { return reference::linear(x, w.weight); }
Tensor linear_f32(const Tensor& x, const Linear& w) { return reference::linear_f32(x, w.weight); }

}  // namespace cream::ops
