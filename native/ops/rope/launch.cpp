// Rotary embedding on a device: queries and keys are turned in one launch; backward their gradients and the values' are laid side by
// side as they are made.
#include "ops/launch.h"
#include "ops/rope/cuda.h"
#include "ops/rope/op.h"

namespace cream::ops::device {
namespace {

// x and y [rows, heads, d] with heads contiguous in a row; rows may be apart.
void rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& y, bool backward) {
  const at::DeviceGuard guard(x.device());
  const int64_t heads = x.size(1), d = x.size(2);
  const Tensor in = x.stride(2) == 1 && x.stride(1) == d ? x : x.contiguous();
  by_element(in, [&](auto type) {
    using T = decltype(type);
    const RopeCuda<T> call{data<T>(in), data<float>(cos), data<float>(sin), writable<T>(y), in.size(0), heads, d, in.stride(0), backward, cos.size(1), y.stride(0)};
    check_launch(rope_cuda(call, stream_of(x)), "rope");
  });
  count_fast_run(Op::rope);
}

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool backward) {
  const Tensor y = at::empty(x.sizes(), x.options());
  rotate(x, cos, sin, y, backward);
  return y;
}

struct Rotation : torch::autograd::Function<Rotation> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& cos, const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, false);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], true), Tensor(), Tensor()};
  }
};

AttentionHeads turned(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, int64_t kv_heads) {
  const Tensor all = qkv.view({qkv.size(0), heads + 2 * kv_heads, -1});
  const Tensor made = rotated(all.narrow(1, 0, heads + kv_heads), cos, sin, false);
  return {made.narrow(1, 0, heads), made.narrow(1, heads, kv_heads), all.narrow(1, heads + kv_heads, kv_heads)};
}

struct Heads : torch::autograd::Function<Heads> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& qkv, const Tensor& cos, const Tensor& sin,
                                                int64_t heads, int64_t kv_heads) {
    context->save_for_backward({cos, sin});
    const AttentionHeads made = turned(qkv, cos, sin, heads, kv_heads);
    return {made.q, made.k, made.v.contiguous()};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list d) {
    const auto saved = context->get_saved_variables();
    const int64_t heads = d[0].size(1), kv_heads = d[1].size(1);
    const Tensor d_qkv = at::empty({d[0].size(0), heads + 2 * kv_heads, d[0].size(2)}, d[0].options());
    rotate(d[0], saved[0], saved[1], d_qkv.narrow(1, 0, heads), true);
    rotate(d[1], saved[0], saved[1], d_qkv.narrow(1, heads, kv_heads), true);
    d_qkv.narrow(1, heads + kv_heads, kv_heads).copy_(d[2]);
    return {d_qkv.flatten(1), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  return wants_gradient({x}) ? Rotation::apply(x, cos, sin) : rotated(x, cos, sin, false);
}

AttentionHeads rope_heads(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, int64_t kv_heads) {
  if (!wants_gradient({qkv})) return turned(qkv, cos, sin, heads, kv_heads);
  const auto made = Heads::apply(qkv, cos, sin, heads, kv_heads);
  return {made[0], made[1], made[2]};
}

}  // namespace cream::ops::device
