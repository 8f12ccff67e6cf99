// RMS norm on a device. The forward pass saves each row's 1/sqrt(…) for the backward pass, which
// sums the weight's gradient chunk by chunk.
#include "ops/launch.h"
#include "ops/rms_norm/cuda.h"
#include "ops/rms_norm/op.h"

namespace cream::ops::device {
namespace {

// The norm of x, or of x + residual, which goes to h. `inverse` [rows] fp32 is written, if defined.
struct Forward {
  Tensor x, residual, h, weight, inverse;
  double eps, offset;

  Tensor run() const {
    const at::DeviceGuard guard(x.device());
    const Tensor y = at::empty_like(x);
    by_element(x, [&](auto type) {
      using T = decltype(type);
      const RmsNormCuda<T> call{data<T>(x),
                                residual.defined() ? data<T>(residual) : nullptr,
                                writable<T>(h),
                                data<T>(weight),
                                writable<T>(y),
                                writable<float>(inverse),
                                x.size(0),
                                x.size(1),
                                static_cast<float>(eps),
                                static_cast<float>(offset)};
      check_launch(rms_norm_cuda(call, stream_of(x)), "rms_norm");
    });
    count_fast_run(Op::rms_norm);
    return y;
  }
};

// Gradients of h, including `added`, and of the weight if requested.
struct Backward {
  Tensor h, weight, inverse, added;
  double offset;
  bool wants_weight;

  std::pair<Tensor, Tensor> run(const Tensor& gradient) const {
    const at::DeviceGuard guard(h.device());
    const int64_t rows = h.size(0), width = h.size(1);
    const Tensor dy = gradient.contiguous(), dh = at::empty_like(h);
    const Tensor parts =
        wants_weight ? at::empty({rms_norm_chunks(rows), width}, h.options().dtype(at::kFloat))
                     : Tensor();
    by_element(h, [&](auto type) {
      using T = decltype(type);
      const RmsNormBackwardCuda<T> call{data<T>(h),
                                        data<T>(weight),
                                        data<float>(inverse),
                                        data<T>(dy),
                                        writable<T>(dh),
                                        writable<float>(parts),
                                        rows,
                                        width,
                                        static_cast<float>(offset),
                                        added.defined() ? data<T>(added) : nullptr};
      check_launch(rms_norm_backward_cuda(call, stream_of(h)), "rms_norm_backward");
    });
    return {dh, parts.defined() ? parts.sum(0).to(weight.scalar_type()) : Tensor()};
  }
};

Tensor room_for_inverse(const Tensor& x) {
  return at::empty({x.size(0)}, x.options().dtype(at::kFloat));
}

struct Normed : torch::autograd::Function<Normed> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& weight, double eps, double offset) {
    const Tensor in = x.contiguous(), inverse = room_for_inverse(x);
    context->save_for_backward({in, weight, inverse});
    context->saved_data["offset"] = offset;
    return Forward{in, {}, {}, weight, inverse, eps, offset}.run();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d) {
    const auto saved = context->get_saved_variables();
    const auto [dx, d_weight] = Backward{saved[0],
                                         saved[1],
                                         saved[2],
                                         {},
                                         context->saved_data["offset"].toDouble(),
                                         context->needs_input_grad(1)}
                                    .run(d[0]);
    return {dx, d_weight, Tensor(), Tensor()};
  }
};

struct AddNormed : torch::autograd::Function<AddNormed> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const Tensor& x, const Tensor& residual,
                                                const Tensor& weight, double eps, double offset) {
    const Tensor in = x.contiguous(), h = at::empty_like(in), inverse = room_for_inverse(x);
    context->save_for_backward({h, weight, inverse});
    context->saved_data["offset"] = offset;
    context->set_materialize_grads(false);
    return {h, Forward{in, residual.contiguous(), h, weight, inverse, eps, offset}.run()};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d) {
    const auto saved = context->get_saved_variables();
    if (!d[1].defined()) return {d[0], d[0], Tensor(), Tensor(), Tensor()};
    const Tensor added = d[0].defined() ? d[0].contiguous() : Tensor();
    const auto [dh, d_weight] = Backward{saved[0],
                                         saved[1],
                                         saved[2],
                                         added,
                                         context->saved_data["offset"].toDouble(),
                                         context->needs_input_grad(2)}
                                    .run(d[1]);
    return {dh, dh, d_weight, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  return wants_gradient({x, weight})
             ? Normed::apply(x, weight, eps, offset)
             : Forward{x.contiguous(), {}, {}, weight, {}, eps, offset}.run();
}

AddNorm add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                     double offset) {
  if (wants_gradient({x, residual, weight})) {
    const auto made = AddNormed::apply(x, residual, weight, eps, offset);
    return {made[0], made[1]};
  }
  const Tensor h = x.contiguous();
  return {h, Forward{h, residual.contiguous(), h, weight, {}, eps, offset}.run()};
}

}  // namespace cream::ops::device
