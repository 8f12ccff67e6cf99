#include "ops/rope/op.h"

namespace cream::ops {

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) { return reference::rope(x, cos, sin); }

}  // namespace cream::ops
