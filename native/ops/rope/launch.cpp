// Rotary embedding on a device.
#include "ops/launch.h"
#include "ops/rope/cuda.h"
#include "ops/rope/op.h"

namespace cream::ops::device {

void rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& y, bool back) {
  const at::DeviceGuard guard(x.device());
  by_element(x, [&](auto type) {
    using T = decltype(type);
    const RopeCuda<T> call{data<T>(x), data<float>(cos), data<float>(sin), writable<T>(y),
                           x.size(0),  x.size(1),        x.size(2),        x.stride(0),
                           back,       cos.size(1),      y.stride(0)};
    check_launch(rope_cuda(call, stream_of(x)), "rope");
  });
}

}  // namespace cream::ops::device
