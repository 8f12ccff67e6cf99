// act(gate)·up on a device.
#include "ops/launch.h"
#include "ops/swiglu/cuda.h"
#include "ops/swiglu/op.h"

namespace cream::ops::device {
namespace {

// Forward where dy is undefined.
Tensor run(const Tensor& gate_up, const Tensor& dy, Activation activation) {
  const at::DeviceGuard guard(gate_up.device());
  const int64_t rows = gate_up.size(0), n = gate_up.size(1) / 2;
  const Tensor out = at::empty({rows, dy.defined() ? 2 * n : n}, gate_up.options());
  by_element(gate_up, [&](auto type) {
    using T = decltype(type);
    const SwigluCuda<T> call{data<T>(gate_up), dy.defined() ? data<T>(dy) : nullptr, writable<T>(out), rows, n, activation};
    check_launch(swiglu_cuda(call, stream_of(gate_up)), "swiglu");
  });
  count_fast_run(Op::swiglu);
  return out;
}

struct Gated : torch::autograd::Function<Gated> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& gate_up, int64_t activation) {
    const Tensor in = gate_up.contiguous();
    context->save_for_backward({in});
    context->saved_data["activation"] = activation;
    return run(in, Tensor(), static_cast<Activation>(activation));
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    return {run(context->get_saved_variables()[0], gradients[0].contiguous(), activation), Tensor()};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate_up, Activation activation) {
  return wants_gradient({gate_up}) ? Gated::apply(gate_up, static_cast<int64_t>(activation)) : run(gate_up.contiguous(), Tensor(), activation);
}

}  // namespace cream::ops::device
