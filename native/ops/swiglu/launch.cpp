// act(gate)·up on a device.
#include "ops/launch.h"
#include "ops/swiglu/cuda.h"
#include "ops/swiglu/op.h"

namespace cream::ops::device {

Tensor gate(const Tensor& gate_up, const Tensor& dy, Activation activation) {
  const at::DeviceGuard guard(gate_up.device());
  const int64_t rows = gate_up.size(0), n = gate_up.size(1) / 2;
  const Tensor out = at::empty({rows, dy.defined() ? 2 * n : n}, gate_up.options());
  by_element(gate_up, [&](auto type) {
    using T = decltype(type);
    const SwigluCuda<T> call{
        data<T>(gate_up), dy.defined() ? data<T>(dy) : nullptr, writable<T>(out), rows, n,
        activation};
    check_launch(swiglu_cuda(call, stream_of(gate_up)), "swiglu");
  });
  return out;
}

}  // namespace cream::ops::device
