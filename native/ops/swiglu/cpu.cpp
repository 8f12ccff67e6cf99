#include "ops/swiglu/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/swiglu/kernel.h"

namespace cream::ops {
namespace {

Tensor forward(const Tensor& in, Activation activation) {
  count_fast_run(Op::swiglu);
  if (on_device(in)) return device::gate(in, Tensor(), activation);
  const int64_t rows = in.size(0), n = in.size(1) / 2;
  Tensor out = at::empty({rows, n}, in.options());
  by_type(in, [&]<Level L, class T>() {
    const T* from = data<T>(in);
    T* to = mutable_data<T>(out);
    parallel_for(0, rows, row_grain(n), [&](int64_t begin, int64_t end) {
      swiglu_rows<L>(from + begin * 2 * n, to + begin * n, end - begin, n, activation);
    });
  });
  return out;
}

Tensor backward(const Tensor& in, const Tensor& dy, Activation activation) {
  if (on_device(in)) return device::gate(in, dy, activation);
  const int64_t rows = in.size(0), n = in.size(1) / 2;
  Tensor out = at::empty_like(in);
  by_type(in, [&]<Level L, class T>() {
    const T *from = data<T>(in), *slope = data<T>(dy);
    T* to = mutable_data<T>(out);
    parallel_for(0, rows, row_grain(2 * n), [&](int64_t begin, int64_t end) {
      swiglu_backward_rows<L>(from + begin * 2 * n, slope + begin * n, to + begin * 2 * n,
                              end - begin, n, activation);
    });
  });
  return out;
}

struct Gated : torch::autograd::Function<Gated> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& gate_up,
                        int64_t activation) {
    const Tensor in = gate_up.contiguous();
    context->save_for_backward({in});
    context->saved_data["activation"] = activation;
    return ops::forward(in, static_cast<Activation>(activation));
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    return {ops::backward(context->get_saved_variables()[0], gradients[0].contiguous(), activation),
            Tensor()};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate_up, Activation activation) {
  if ((!fast_dtype(gate_up) && !device_dtype(gate_up)) || gate_up.dim() != 2)
    return reference::swiglu(gate_up, activation);
  return wants_gradient({gate_up}) ? Gated::apply(gate_up, static_cast<int64_t>(activation))
                                   : forward(gate_up.contiguous(), activation);
}

}  // namespace cream::ops
