// Binds paged decode attention to tensors.
#include "ops/attention/cuda.h"
#include "ops/attention/device.h"
#include "ops/attention/paged.h"
#include "ops/launch.h"
#include "support/device.h"
#include "support/error.h"

namespace cream::ops {

namespace device {

Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind) {
  const int64_t count = q.size(0), heads = q.size(1), d = q.size(2), kv_heads = cache.size(2);
  const auto table = [&](const Tensor& t) {
    return t.scalar_type() == at::kInt && t.is_contiguous() && t.size(0) == count;
  };
  if (!cache.is_contiguous() || cache.size(3) != page_size || !table(rows.page_table) ||
      !table(rows.lengths) || !table(rows.groups) || rows.groups.size(1) != 4)
    throw Error(ErrorCode::internal,
                "paged_decode_attention: the cache and the tables of a step must be contiguous, in "
                "pages of " +
                    std::to_string(page_size) + ", the tables int32.");
  if (rows.max_length > rows.page_table.size(1) * page_size)
    throw Error(ErrorCode::internal, "paged_decode_attention: rows of up to " +
                                         std::to_string(rows.max_length) +
                                         " positions, but page tables for " +
                                         std::to_string(rows.page_table.size(1) * page_size) + ".");
  if (!fits_kernels({q, cache}, d)) return reference::paged_decode_attention(q, cache, rows, kind);
  const at::DeviceGuard guard(q.device());
  const Tensor queries = for_kernels(q);
  Tensor out = at::empty({count, heads * d}, q.options());
  if (count == 0) return out;
  Tensor scratch =
      at::empty({paged_scratch(count, heads, d, rows.max_length)}, q.options().dtype(at::kFloat));
  const Tensor plan = rows.plan.defined() ? rows.plan : paged_plan(q, cache, rows, kind);
  by_element(q, [&](auto type) {
    using T = decltype(type);
    const PagedCuda<T> call{data<T>(queries),
                            data<T>(cache),
                            data<int32_t>(rows.page_table),
                            data<int32_t>(rows.lengths),
                            data<int32_t>(rows.groups),
                            mutable_data<T>(out),
                            mutable_data<float>(scratch),
                            plan.defined() ? data<int32_t>(plan) : nullptr,
                            count,
                            heads,
                            kv_heads,
                            d,
                            queries.stride(0),
                            rows.page_table.size(1),
                            rows.max_length,
                            kind.window,
                            static_cast<float>(kind.scale_of(d)),
                            static_cast<float>(kind.softcap)};
    check_launch(paged_decode_cuda(call, stream_of(q)), "paged_decode_attention");
  });
  return out;
}

}  // namespace device

Tensor paged_plan(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                  const AttentionKind& kind) {
  if (!on_device(q) || q.scalar_type() != at::kBFloat16 || q.size(0) == 0 ||
      !device::fits_kernels({q, cache}, q.size(2)))
    return {};
  const at::DeviceGuard guard(q.device());
  const PagedPlanCuda call{data<int32_t>(rows.lengths),
                           data<int32_t>(rows.groups),
                           q.size(0),
                           q.size(1),
                           cache.size(2),
                           q.size(2),
                           rows.max_length,
                           kind.window,
                           static_cast<float>(kind.softcap)};
  const int64_t values = paged_plan_values(call);
  if (values == 0) return {};
  Tensor plan = at::empty({values}, rows.lengths.options());
  check_launch(paged_plan_cuda(call, mutable_data<int32_t>(plan), stream_of(q)), "paged_plan");
  return plan;
}

Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind) {
  return on_device(q) ? device::paged_decode_attention(q, cache, rows, kind)
                      : reference::paged_decode_attention(q, cache, rows, kind);
}

}  // namespace cream::ops
