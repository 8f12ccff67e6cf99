#include "ops/rope/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/rope/kernel.h"

namespace cream::ops {
namespace {

bool table(const Tensor& t, const Tensor& x) {
  return t.scalar_type() == at::kFloat && t.is_contiguous() && !t.requires_grad() && t.dim() == 2 && t.size(0) == x.size(0) && t.size(1) <= x.size(2);
}

// x with heads contiguous and rows possibly apart, as a slice of the fused qkv projection is: used where it lies.
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t rows = x.size(0), heads = x.size(1), d = x.size(2), turned = cos.size(1);
  const Tensor in = x.stride(2) == 1 && x.stride(1) == d ? x : x.contiguous();
  Tensor out = at::empty({rows, heads, d}, x.options());
  by_type(in, [&](auto type) {
    using T = decltype(type);
    const T* from = data<T>(in);
    const float *c = data<float>(cos), *s = data<float>(sin);
    T* to = mutable_data<T>(out);
    parallel_for(0, rows, row_grain(heads * d), [&](int64_t begin, int64_t end) {
      rope_avx512(from + begin * in.stride(0), c + begin * turned, s + begin * turned, to + begin * heads * d, {end - begin, heads, d, turned, in.stride(0)});
    });
  });
  count_fast_run(Op::rope);
  return out;
}

// A rotation's gradient is the rotation back: dx₁ = dy₁·cos₁ + dy₂·sin₂, dx₂ = dy₂·cos₂ − dy₁·sin₁.
struct Rotation : torch::autograd::Function<Rotation> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& cos, const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotate(x, cos, sin);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const int64_t half = saved[1].size(1) / 2;
    return {rotate(gradients[0], saved[0], saved[1].roll(half, 1).neg()), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  if (!fast_dtype(x) || x.dim() != 3 || !table(cos, x) || !table(sin, x)) return reference::rope(x, cos, sin);
  return wants_gradient({x}) ? Rotation::apply(x, cos, sin) : rotate(x, cos, sin);
}

}  // namespace cream::ops
