#include "ops/rms_norm/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/rms_norm/kernel.h"

namespace cream::ops {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  if (!fast_inputs(x, {weight}) || x.dim() != 2 || !weight.is_contiguous()) return reference::rms_norm(x, weight, eps, offset);
  const Tensor in = x.contiguous();
  Tensor out = at::empty_like(in);
  const int64_t width = in.size(1);
  by_type(in, [&](auto type) {
    using T = decltype(type);
    const T *from = data<T>(in), *w = data<T>(weight);
    T* to = mutable_data<T>(out);
    at::parallel_for(0, in.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      rms_norm_avx512(from + begin * width, w, to + begin * width, end - begin, width, {static_cast<float>(eps), static_cast<float>(offset)});
    });
  });
  count_fast_run(Op::rms_norm);
  return out;
}

}  // namespace cream::ops
