// Linear layers on a device with the library's GEMMs; fp32 sums of bf16 products where CUDA's GEMM
// accepts an output dtype.
#include "ops/launch.h"
#include "ops/linear/cuda.h"
#include "ops/linear/device.h"
#include "ops/linear/product.h"

namespace cream::ops::device {
namespace {

// ATen supports an output dtype only on CUDA and without a gradient.
bool widening(const Tensor& a, const Tensor& b) {
  const bool gradient = at::GradMode::is_enabled() && (a.requires_grad() || b.requires_grad());
  return a.is_cuda() && !gradient && a.dim() == 2 && a.scalar_type() == at::kBFloat16 &&
         b.scalar_type() == at::kBFloat16;
}

}  // namespace

Tensor linear_f32(const Tensor& x, const Tensor& weight) {
  const bool gradient = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  return !gradient && x.dim() == 2 && x.scalar_type() == at::kBFloat16
             ? product(x, weight, at::kFloat)
             : reference::linear_f32(x, weight);
}

void add_weight_gradient(Tensor sum, const Tensor& dy, const Tensor& x, double scale) {
  if (sum.scalar_type() == dy.scalar_type())
    sum.addmm_(dy.t(), x, 1, scale);  // one rounding, of the sum
  else if (widening(dy, x))
    at::addmm_out(sum, sum, dy.t(), x, at::kFloat, 1, scale);
  else
    sum.addmm_(dy.to(sum.scalar_type()).t(), x.to(sum.scalar_type()), 1, scale);
}

void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x) {
  add_weight_gradient(sum, dy, x, 1);
}

Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options) {
  const at::DeviceGuard guard(options.device());
  const Tensor kept = at::empty({rows, columns}, options);
  const MaskStream stream{dropout.seed, dropout.step, dropout.micro_batch, dropout.site,
                          static_cast<uint32_t>(std::lround(dropout.rate * 65536))};
  by_element(kept, [&](auto type) {
    using T = decltype(type);
    check_launch(
        keep_mask_cuda(KeepMaskCuda<T>{writable<T>(kept), kept.numel(), stream}, stream_of(kept)),
        "keep_mask");
  });
  return kept;
}

}  // namespace cream::ops::device
