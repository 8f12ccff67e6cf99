#include "ops/launch.h"
#include "ops/softcap/kernel.h"
#include "ops/softcap/op.h"

namespace cream::ops {

void softcap_(Tensor& x, double c) {
  if (c == 0) return;
  if (!fast_dtype(x) || x.scalar_type() != at::kFloat || !x.is_contiguous() || wants_gradient({x}))
    return reference::softcap_(x, c);
  float* values = mutable_data<float>(x);
  at_level([&]<Level L>() {
    parallel_for(0, x.numel(), row_grain(1), [&](int64_t begin, int64_t end) {
      softcap_values<L>(values + begin, end - begin, static_cast<float>(c));
    });
  });
  count_fast_run(Op::softcap);
}

}  // namespace cream::ops
