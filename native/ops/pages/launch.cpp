#include "ops/launch.h"
#include "ops/pages/cuda.h"
#include "ops/pages/op.h"
#include "support/device.h"
#include "support/error.h"

namespace cream::ops {

void write_pages(const Tensor& k, const Tensor& v, const Tensor& cache, const Tensor& pages,
                 const Tensor& slots) {
  const at::DeviceGuard guard(cache.device());
  // Heads contiguous within a row, as in slices of the joined projection.
  const auto by_rows = [](const Tensor& x) {
    return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
  };
  const Tensor keys = by_rows(k), values = by_rows(v);
  by_element(cache, [&]<class T>(T) {
    const WritePagesCuda<T> call{
        data<T>(keys),        data<T>(values),      static_cast<T*>(cache.mutable_data_ptr()),
        data<int32_t>(pages), data<int32_t>(slots), keys.size(0),
        keys.size(1),         keys.size(2),         keys.stride(0),
        values.stride(0),     cache.size(3)};
    check_launch(write_pages_cuda(call, stream_of(cache)), "write_pages");
  });
}

AttentionHeads rope_into_pages(const JoinedHeads& joined, const PagePlaces& places, bool keys) {
  const auto& [qkv, cos, sin, heads, kv_heads] = joined;
  const int64_t rows = qkv.size(0), d = places.cache.size(4),
                kept = keys ? heads + kv_heads : heads;
  if (!qkv.is_contiguous() || qkv.scalar_type() != places.cache.scalar_type() ||
      !cos.is_contiguous() || !sin.is_contiguous() || cos.scalar_type() != at::kFloat)
    throw Error(ErrorCode::internal,
                "rope_into_pages: the projection must be contiguous and of the cache's dtype, the "
                "tables contiguous and fp32.");
  const at::DeviceGuard guard(qkv.device());
  const Tensor y = at::empty({rows, kept, d}, qkv.options());
  by_element(qkv, [&]<class T>(T) {
    const RopePagesCuda<T> call{data<T>(qkv),
                                data<float>(cos),
                                data<float>(sin),
                                writable<T>(y),
                                writable<T>(places.cache),
                                data<int32_t>(places.pages),
                                data<int32_t>(places.slots),
                                rows,
                                heads,
                                kv_heads,
                                d,
                                cos.size(1),
                                places.cache.size(3),
                                kept};
    check_launch(rope_pages_cuda(call, stream_of(qkv)), "rope_into_pages");
  });
  count_fast_run(Op::rope);
  if (!keys) return {y, {}, {}};
  return {y.narrow(1, 0, heads), y.narrow(1, heads, kv_heads),
          qkv.view({rows, heads + 2 * kv_heads, d}).narrow(1, heads + kv_heads, kv_heads)};
}

void copy_pages(const Tensor& cache, const Tensor& from, const Tensor& to) {
  const at::DeviceGuard guard(cache.device());
  const CopyPagesCuda call{cache.mutable_data_ptr(),
                           data<int32_t>(from),
                           data<int32_t>(to),
                           from.size(0),
                           cache.size(0),
                           cache.size(1),
                           cache.stride(1) * static_cast<int64_t>(cache.element_size())};
  check_launch(copy_pages_cuda(call, stream_of(cache)), "copy_pages");
}

}  // namespace cream::ops
