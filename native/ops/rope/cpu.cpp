#include "ops/rope/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/rope/kernel.h"

namespace cream::ops {
namespace {

bool kernels(const Tensor& x) { return fast_dtype(x) || device_dtype(x); }

bool table(const Tensor& t, const Tensor& x) {
  return t.scalar_type() == at::kFloat && t.is_contiguous() && !t.requires_grad() && t.dim() == 2 &&
         t.size(0) == x.size(0) && t.size(1) <= x.size(2);
}

// x and y: heads contiguous, rows may be strided, as in a slice of the joined qkv projection; used
// in place.
void rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, Tensor y, bool back) {
  const int64_t heads = x.size(1), d = x.size(2), rotary_dim = cos.size(1);
  const Tensor in = x.stride(2) == 1 && x.stride(1) == d ? x : x.contiguous();
  count_fast_run(Op::rope);
  if (on_device(x)) return device::rotate(in, cos, sin, y, back);
  by_type(in, [&]<Level L, class T>() {
    const T* from = data<T>(in);
    const float *c = data<float>(cos), *s = data<float>(sin);
    T* to = mutable_data<T>(y);
    parallel_for(0, x.size(0), row_grain(heads * d), [&](int64_t begin, int64_t end) {
      rope_rows<L>(from + begin * in.stride(0), c + begin * rotary_dim, s + begin * rotary_dim,
                   to + begin * y.stride(0),
                   {end - begin, heads, d, rotary_dim, in.stride(0), y.stride(0), back});
    });
  });
}

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool back = false) {
  const Tensor y = at::empty(x.sizes(), x.options());
  rotate(x, cos, sin, y, back);
  return y;
}

struct Rotation : torch::autograd::Function<Rotation> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& cos, const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], /*back=*/true), Tensor(), Tensor()};
  }
};

// Writes the gradients of queries, keys and values side by side; autograd's slices would be
// zero-padded and added.
struct Heads : torch::autograd::Function<Heads> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const Tensor& qkv, const Tensor& cos,
                                                const Tensor& sin, int64_t heads,
                                                int64_t kv_heads) {
    context->save_for_backward({cos, sin});
    const AttentionHeads made = rope_heads({qkv, cos, sin, heads, kv_heads});
    return {made.q, made.k, made.v.contiguous()};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d) {
    const auto saved = context->get_saved_variables();
    const int64_t heads = d[0].size(1), kv_heads = d[1].size(1);
    const Tensor d_qkv =
        at::empty({d[0].size(0), heads + 2 * kv_heads, d[0].size(2)}, d[0].options());
    rotate(d[0], saved[0], saved[1], d_qkv.narrow(1, 0, heads), /*back=*/true);
    rotate(d[1], saved[0], saved[1], d_qkv.narrow(1, heads, kv_heads), /*back=*/true);
    d_qkv.narrow(1, heads + kv_heads, kv_heads).copy_(d[2]);
    return {d_qkv.flatten(1), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  if (!kernels(x) || x.dim() != 3 || !table(cos, x) || !table(sin, x))
    return reference::rope(x, cos, sin);
  return wants_gradient({x}) ? Rotation::apply(x, cos, sin) : rotated(x, cos, sin);
}

AttentionHeads rope_heads(const JoinedHeads& joined) {
  const auto& [qkv, cos, sin, heads, kv_heads] = joined;
  const Tensor all = qkv.view({qkv.size(0), heads + 2 * kv_heads, -1});
  if (wants_gradient({qkv}) && kernels(qkv) && table(cos, all) && table(sin, all)) {
    const auto made = Heads::apply(qkv, cos, sin, heads, kv_heads);
    return {made[0], made[1], made[2]};
  }
  const Tensor rotated = rope(all.narrow(1, 0, heads + kv_heads), cos, sin);
  return {rotated.narrow(1, 0, heads), rotated.narrow(1, heads, kv_heads),
          all.narrow(1, heads + kv_heads, kv_heads)};
}

}  // namespace cream::ops
