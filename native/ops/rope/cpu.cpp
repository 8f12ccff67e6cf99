#include "ops/rope/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/rope/kernel.h"

namespace cream::ops {
namespace {

bool table(const Tensor& t, const Tensor& x) {
  return t.scalar_type() == at::kFloat && t.is_contiguous() && t.dim() == 2 && t.size(0) == x.size(0) && t.size(1) == x.size(2);
}

}  // namespace

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  if (!fast_inputs(x) || x.dim() != 3 || !table(cos, x) || !table(sin, x)) return reference::rope(x, cos, sin);
  const int64_t rows = x.size(0), heads = x.size(1), d = x.size(2);
  // A slice of the fused qkv projection is used where it lies: heads contiguous, rows apart.
  const Tensor in = x.stride(2) == 1 && x.stride(1) == d ? x : x.contiguous();
  Tensor out = at::empty({rows, heads, d}, x.options());
  by_type(in, [&](auto type) {
    using T = decltype(type);
    const T* from = data<T>(in);
    const float *c = data<float>(cos), *s = data<float>(sin);
    T* to = mutable_data<T>(out);
    at::parallel_for(0, rows, row_grain(heads * d), [&](int64_t begin, int64_t end) {
      rope_avx512(from + begin * in.stride(0), c + begin * d, s + begin * d, to + begin * heads * d, {end - begin, heads, d, in.stride(0)});
    });
  });
  count_fast_run(Op::rope);
  return out;
}

}  // namespace cream::ops
