// RMS norm on a device; the forward keeps each row's 1/sqrt(…) for the backward, whose weight gradient is summed chunk by chunk.
#include "ops/launch.h"
#include "ops/rms_norm/cuda.h"
#include "ops/rms_norm/op.h"

namespace cream::ops::device {
namespace {

// `inverse` [rows] fp32 is written, if defined.
Tensor forward(const Tensor& x, const Tensor& weight, double eps, double offset, const Tensor& inverse) {
  const at::DeviceGuard guard(x.device());
  const Tensor y = at::empty_like(x);
  by_element(x, [&](auto type) {
    using T = decltype(type);
    const RmsNormCuda<T> call{data<T>(x), nullptr, nullptr, data<T>(weight), writable<T>(y), writable<float>(inverse), x.size(0), x.size(1),
                              static_cast<float>(eps), static_cast<float>(offset)};
    check_launch(rms_norm_cuda(call, stream_of(x)), "rms_norm");
  });
  count_fast_run(Op::rms_norm);
  return y;
}

struct Normed : torch::autograd::Function<Normed> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, double eps, double offset) {
    const Tensor in = x.contiguous(), inverse = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
    context->save_for_backward({in, weight, inverse});
    context->saved_data["offset"] = offset;
    return device::forward(in, weight, eps, offset, inverse);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], dy = gradients[0].contiguous();
    const at::DeviceGuard guard(x.device());
    const int64_t rows = x.size(0), width = x.size(1);
    const Tensor dx = at::empty_like(x);
    const Tensor parts = context->needs_input_grad(1) ? at::empty({rms_norm_chunks(rows), width}, x.options().dtype(at::kFloat)) : Tensor();
    by_element(x, [&](auto type) {
      using T = decltype(type);
      const RmsNormBackwardCuda<T> call{data<T>(x), data<T>(weight), data<float>(saved[2]), data<T>(dy), writable<T>(dx), writable<float>(parts),
                                        rows, width, static_cast<float>(context->saved_data["offset"].toDouble())};
      check_launch(rms_norm_backward_cuda(call, stream_of(x)), "rms_norm_backward");
    });
    return {dx, parts.defined() ? parts.sum(0).to(weight.scalar_type()) : Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  return wants_gradient({x, weight}) ? Normed::apply(x, weight, eps, offset) : forward(x.contiguous(), weight, eps, offset, Tensor());
}

}  // namespace cream::ops::device
