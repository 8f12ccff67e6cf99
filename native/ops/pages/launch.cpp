#include "ops/launch.h"
#include "ops/pages/cuda.h"
#include "ops/pages/op.h"
#include "support/device.h"

namespace cream::ops {

void write_pages(const Tensor& k, const Tensor& v, const Tensor& cache, const Tensor& pages, const Tensor& slots) {
  const at::DeviceGuard guard(cache.device());
  // Heads contiguous within a row, as in slices of the joined projection.
  const auto by_rows = [](const Tensor& x) { return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous(); };
  const Tensor keys = by_rows(k), values = by_rows(v);
  by_element(cache, [&]<class T>(T) {
    const WritePagesCuda<T> call{data<T>(keys), data<T>(values), static_cast<T*>(cache.mutable_data_ptr()), data<int32_t>(pages), data<int32_t>(slots),
                                 keys.size(0), keys.size(1), keys.size(2), keys.stride(0), values.stride(0), cache.size(3)};
    check_launch(write_pages_cuda(call, stream_of(cache)), "write_pages");
  });
}

void copy_pages(const Tensor& cache, const Tensor& from, const Tensor& to) {
  const at::DeviceGuard guard(cache.device());
  const CopyPagesCuda call{cache.mutable_data_ptr(), data<int32_t>(from), data<int32_t>(to), from.size(0), cache.size(0), cache.size(1),
                           cache.stride(1) * static_cast<int64_t>(cache.element_size())};
  check_launch(copy_pages_cuda(call, stream_of(cache)), "copy_pages");
}

}  // namespace cream::ops
