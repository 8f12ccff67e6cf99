#include "ops/softcap/op.h"

namespace cream::ops {

Tensor softcap_slope(const Tensor& y, double c) { return at::div(y, c).square_().neg_().add_(1.0); }

void reference::softcap_(Tensor& x, double c) {
  if (c != 0) x.div_(c).tanh_().mul_(c);
}

}  // namespace cream::ops
