#include "ops/rms_norm/op.h"

namespace cream::ops {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) { return reference::rms_norm(x, weight, eps); }

}  // namespace cream::ops
