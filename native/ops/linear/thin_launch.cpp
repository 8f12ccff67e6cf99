// Binds the product of few rows to tensors.
#include "ops/launch.h"
#include "ops/linear/cuda.h"
#include "ops/linear/product.h"

namespace cream::ops::device {
namespace {

bool by_vectors(const Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && x.dim() == 2 && x.stride(1) == 1 &&
         x.stride(0) % 8 == 0 && x.size(1) % 8 == 0 &&
         reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

}  // namespace

bool takes_thin(const Tensor& x, const Tensor& w) {
  return x.size(0) <= kThinRows && by_vectors(x) && by_vectors(w);
}

void thin_product(const Tensor& x, const Tensor& w, const Tensor& y) {
  const at::DeviceGuard guard(x.device());
  by_element(y, [&](auto type) {
    using T = decltype(type);
    const ThinBlock<T> call{data<uint16_t>(x),
                            data<uint16_t>(w),
                            writable<T>(y),
                            x.stride(0),
                            w.stride(0),
                            y.stride(0),
                            static_cast<int32_t>(x.size(0)),
                            static_cast<int32_t>(x.size(1)),
                            static_cast<int32_t>(w.size(0))};
    check_launch(thin_product_cuda(call, stream_of(x)), "thin_product");
  });
}

}  // namespace cream::ops::device
