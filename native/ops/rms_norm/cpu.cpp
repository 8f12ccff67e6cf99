#include "ops/rms_norm/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/rms_norm/kernel.h"

namespace cream::ops {

namespace {

Tensor forward(const Tensor& in, const Tensor& weight, const RmsNorm& norm) {
  Tensor out = at::empty_like(in);
  const int64_t width = in.size(1);
  by_type(in, [&]<Level L, class T>() {
    const T *from = data<T>(in), *w = data<T>(weight);
    T* to = mutable_data<T>(out);
    parallel_for(0, in.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      rms_norm_rows<L>(from + begin * width, w, to + begin * width, end - begin, width, norm);
    });
  });
  count_fast_run(Op::rms_norm);
  return out;
}

AddNorm add_forward(Tensor x, const Tensor& residual, const Tensor& weight, const RmsNorm& norm) {
  Tensor normed = at::empty_like(x);
  const int64_t width = x.size(1);
  by_type(x, [&]<Level L, class T>() {
    T *sum = mutable_data<T>(x), *to = mutable_data<T>(normed);
    const T *added = data<T>(residual), *w = data<T>(weight);
    parallel_for(0, x.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      const int64_t at = begin * width;
      add_rms_norm_rows<L>(sum + at, added + at, w, to + at, end - begin, width, norm);
    });
  });
  count_fast_run(Op::rms_norm);
  return {std::move(x), std::move(normed)};
}

// The weight's gradient is summed over fixed blocks of rows, independent of the threads, then over
// the blocks.
constexpr int64_t gradient_rows = 64;

std::pair<Tensor, Tensor> gradient(const Tensor& in, const Tensor& weight, const Tensor& dy,
                                   const RmsNorm& norm) {
  const at::NoGradGuard no_grad;
  const int64_t rows = in.size(0), width = in.size(1),
                blocks = (rows + gradient_rows - 1) / gradient_rows;
  Tensor dx = at::empty_like(in),
         parts = at::zeros({blocks, width}, in.options().dtype(at::kFloat));
  by_type(in, [&]<Level L, class T>() {
    const T *x = data<T>(in), *w = data<T>(weight), *slope = data<T>(dy);
    T* to = mutable_data<T>(dx);
    float* sums = mutable_data<float>(parts);
    parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * gradient_rows, n = std::min(gradient_rows, rows - first),
                      at = first * width;
        rms_norm_gradient_rows<L>(x + at, w, slope + at, to + at, sums + block * width, n, width,
                                  norm);
      }
    });
  });
  return {dx, parts.sum(0).to(weight.scalar_type())};
}

struct Normed : torch::autograd::Function<Normed> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& weight, double eps, double offset) {
    const Tensor in = x.contiguous();
    context->save_for_backward({in, weight});
    context->saved_data["eps"] = eps;
    context->saved_data["offset"] = offset;
    return ops::forward(in, weight, {static_cast<float>(eps), static_cast<float>(offset)});
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const RmsNorm norm{static_cast<float>(context->saved_data["eps"].toDouble()),
                       static_cast<float>(context->saved_data["offset"].toDouble())};
    const auto [dx, d_weight] = gradient(saved[0], saved[1], gradients[0].contiguous(), norm);
    return {dx, d_weight, Tensor(), Tensor()};
  }
};

}  // namespace

static bool fits(const Tensor& x, const Tensor& weight) {
  return x.dim() == 2 && weight.scalar_type() == x.scalar_type() && weight.is_contiguous();
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  if (device_dtype(x) && fits(x, weight)) return device::rms_norm(x, weight, eps, offset);
  if (!fast_dtype(x) || !fits(x, weight)) return reference::rms_norm(x, weight, eps, offset);
  if (wants_gradient({x, weight})) return Normed::apply(x, weight, eps, offset);
  return forward(x.contiguous(), weight, {static_cast<float>(eps), static_cast<float>(offset)});
}

AddNorm add_rms_norm(Tensor x, const Tensor& residual, const Tensor& weight, double eps,
                     double offset) {
  const bool joined =
      fits(x, weight) && residual.scalar_type() == x.scalar_type() && residual.sizes() == x.sizes();
  if (joined && device_dtype(x)) return device::add_rms_norm(x, residual, weight, eps, offset);
  if (joined && fast_dtype(x) && x.is_contiguous() && residual.is_contiguous() &&
      !wants_gradient({x, residual, weight}))
    return add_forward(std::move(x), residual, weight,
                       {static_cast<float>(eps), static_cast<float>(offset)});
  x.add_(residual);
  return {x, rms_norm(x, weight, eps, offset)};
}

}  // namespace cream::ops
