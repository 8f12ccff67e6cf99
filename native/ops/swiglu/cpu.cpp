#include "ops/swiglu/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/swiglu/kernel.h"

namespace cream::ops {

Tensor swiglu(const Tensor& gate_up) {
  if (!fast_inputs(gate_up) || gate_up.dim() != 2) return reference::swiglu(gate_up);
  const Tensor in = gate_up.contiguous();
  const int64_t rows = in.size(0), n = in.size(1) / 2;
  Tensor out = at::empty({rows, n}, in.options());
  by_type(in, [&](auto type) {
    using T = decltype(type);
    const T* from = data<T>(in);
    T* to = mutable_data<T>(out);
    at::parallel_for(0, rows, row_grain(n), [&](int64_t begin, int64_t end) {
      swiglu_avx512(from + begin * 2 * n, to + begin * n, end - begin, n);
    });
  });
  count_fast_run(Op::swiglu);
  return out;
}

}  // namespace cream::ops
