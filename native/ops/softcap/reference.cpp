#include "ops/softcap/op.h"

namespace cream::ops {

Tensor softcap_slope(const Tensor& y, double c) { return at::div(y, c).square_().neg_().add_(1.0); }

void reference::softcap_(Tensor& x, double c) {
  if (c == 0) return;
  const float cap = static_cast<float>(c);
  x.mul_(1.0f / cap).tanh_().mul_(cap);
}

}  // namespace cream::ops
