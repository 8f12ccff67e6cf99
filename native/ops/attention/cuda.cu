#include "ops/attention/cuda.h"

#include <algorithm>

#include "ops/attention/packed_block.h"
#include "ops/attention/paged_warp_block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

int64_t cut_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

int32_t small(int64_t n) { return static_cast<int32_t>(n); }

// Of PagedCuda and PagedPlanCuda.
template <class Call>
PagedState state_of(const Call& c, const int32_t* page_table, int64_t max_pages) {
  // Groups are few: a grid for a quarter of the rows covers them in one pass if at least four
  // completions share a prompt.
  const int64_t entries = c.rows > 1 ? cut_of(c.rows, 4) : 0;
  return {page_table,
          c.lengths,
          c.groups,
          small(c.rows),
          small(max_pages),
          small(c.heads),
          small(c.kv_heads),
          small(c.d),
          small(c.window),
          small(entries),
          std::max(1, paged_splits(small(c.max_length)))};
}

// Decode without tensor cores, sums in fp32 registers; then the join of its parts.
template <int D, class T>
int decode_tiles(const PagedCuda<T>& c, const PagedState& state, float* running, float* sums,
                 void* stream) {
  const int d = static_cast<int>(state.d),
            held = static_cast<int>(std::min<int64_t>(tiles::most_held(d), c.rows * state.group()));
  const int64_t bytes =
      tiles::AttendMemory<T>(held, d, tiles::most_slices<T>(tiles::most_held(d), d)).bytes();
  const int64_t blocks = c.kv_heads * state.splits * (state.entries + c.rows);
  const int error = launch(
      PagedDecodeBlock<T, D>{c.q, c.cache, state, c.stride, c.scale, c.softcap, running, sums},
      {blocks, tiles::threads, bytes}, stream);
  if (error != 0) return error;
  return launch(PagedJoinBlock<T>{running, sums, state, c.out},
                {c.rows * c.heads, threads_for(c.d)}, stream);
}

// f(kernel): PagedWarpBlock for these heads.
template <class F>
auto with_warps(int64_t d, float softcap, const F& f) {
  if (d == 64)
    return softcap > 0 ? f(PagedWarpBlock<64, true, true>{}) : f(PagedWarpBlock<64, true, false>{});
  if (d == 128)
    return softcap > 0 ? f(PagedWarpBlock<128, true, true>{})
                       : f(PagedWarpBlock<128, true, false>{});
  return d < 64 ? f(PagedWarpBlock<64, false, true>{}) : f(PagedWarpBlock<128, false, true>{});
}
int32_t warp_blocks(int64_t d, float softcap) {
  return with_warps(d, softcap, [](auto kernel) {
    using Kernel = decltype(kernel);
    return resident_blocks<Kernel>(kPagedThreads, sizeof(typename Kernel::Memory));
  });
}

// Decode in bf16 on the tensor cores; then the join of its parts.
int decode_warps(const PagedCuda<uint16_t>& c, const PagedState& state, float* running, float* sums,
                 void* stream) {
  const PagedPlan plan{c.plan, warp_blocks(c.d, c.softcap)};
  const int error = with_warps(
      c.d, c.softcap, [&]<int D, bool exact, bool capped>(PagedWarpBlock<D, exact, capped> kernel) {
        return launch(PagedWarpBlock<D, exact, capped>{c.q, c.cache, state, plan, c.stride, c.scale,
                                                       c.softcap, running, sums},
                      {plan.blocks, kPagedThreads, sizeof(typename decltype(kernel)::Memory)},
                      stream);
      });
  if (error != 0) return error;
  return launch(WarpJoinBlock{running, sums, state, c.out},
                {WarpJoinBlock::blocks(c.rows, c.heads, c.d), WarpJoinBlock::most_threads}, stream);
}

template <class T>
int paged(const PagedCuda<T>& c, void* stream) {
  const PagedState state = state_of(c, c.page_table, c.max_pages);
  float* const running = c.scratch;
  float* const sums = running + c.rows * c.heads * cut_of(state.splits, 8) * 16;  // still aligned
  if constexpr (sizeof(T) == 2)
    if (takes_warps(c.d)) return decode_warps(c, state, running, sums, stream);
  return c.d == 64    ? decode_tiles<64>(c, state, running, sums, stream)
         : c.d == 128 ? decode_tiles<128>(c, state, running, sums, stream)
                      : decode_tiles<0>(c, state, running, sums, stream);
}

template <int D>
int packed_warps(const PackedCuda<uint16_t>& c, void* stream) {
  return launch(
      PackedWarpBlock<D>{c},
      {c.plan.query_tiles * c.kv_heads, warp_tiles::threads, sizeof(warp_tiles::RowsMemory<D>)},
      stream);
}

template <class T>
int packed(const PackedCuda<T>& c, void* stream) {
  const int d = static_cast<int>(c.d);
  if constexpr (sizeof(T) == 2)
    if (takes_warps(d)) return d <= 64 ? packed_warps<64>(c, stream) : packed_warps<128>(c, stream);
  return launch(PackedBlock<T>{c},
                {c.plan.query_tiles * c.kv_heads, tiles::threads,
                 tiles::AttendMemory<T>::most_bytes(tiles::most_held(d), d)},
                stream);
}

template <class T>
int packed_gradient(const PackedGradientCuda<T>& g, void* stream) {
  const int d = static_cast<int>(g.forward.d), held = tiles::most_held(d);
  const int64_t kv_heads = g.forward.kv_heads;
  const int error = launch(QueryGradientBlock<T>{g},
                           {g.forward.plan.query_tiles * kv_heads, tiles::threads,
                            QueryGradientBlock<T>::bytes(held, d)},
                           stream);
  if (error != 0) return error;
  return launch(
      KeyGradientBlock<T>{g},
      {g.forward.plan.key_tiles * kv_heads, tiles::threads, KeyGradientBlock<T>::bytes(held, d)},
      stream);
}

template <class T>
int sum_rows(const SumRowsCuda<T>& c, void* stream) {
  return launch(SumRowsBlock<T>{c}, {c.rows, threads_for(c.width / tiles::chunk)}, stream);
}

}  // namespace

int64_t paged_scratch(int64_t rows, int64_t heads, int64_t d, int64_t max_length) {
  const int64_t splits = std::max(1, paged_splits(static_cast<int32_t>(max_length)));
  return rows * heads * (cut_of(splits, 8) * 16 + splits * d);
}
int64_t paged_plan_values(const PagedPlanCuda& c) {
  if (!takes_warps(c.d)) return 0;
  const PagedState state = state_of(c, nullptr, 0);
  return PagedPlan::item_offset(warp_blocks(c.d, c.softcap)) +
         most_paged_items(c.rows, state.group(), state.splits) *
             static_cast<int64_t>(sizeof(PagedItem) / sizeof(int32_t));
}
int paged_plan_cuda(const PagedPlanCuda& c, int32_t* plan, void* stream) {
  return launch(PagedPlanBlock{state_of(c, nullptr, 0), plan, warp_blocks(c.d, c.softcap)},
                {1, PagedPlanBlock::most_lanes, PagedPlanBlock::shared_bytes}, stream);
}
int paged_decode_cuda(const PagedCuda<uint16_t>& call, void* stream) { return paged(call, stream); }
int paged_decode_cuda(const PagedCuda<float>& call, void* stream) { return paged(call, stream); }

int64_t packed_query_rows(int64_t group, int64_t d, bool bf16) {
  const int most = bf16 && takes_warps(d) ? warp_tiles::RowsMemory<64>::rows
                                          : tiles::most_held(static_cast<int>(d));
  return std::max<int64_t>(1, most / group);
}
int64_t packed_key_rows(int64_t d) { return tiles::most_held(static_cast<int>(d)); }
int packed_attention_cuda(const PackedCuda<uint16_t>& call, void* stream) {
  return packed(call, stream);
}
int packed_attention_cuda(const PackedCuda<float>& call, void* stream) {
  return packed(call, stream);
}
int packed_gradient_cuda(const PackedGradientCuda<uint16_t>& call, void* stream) {
  return packed_gradient(call, stream);
}
int packed_gradient_cuda(const PackedGradientCuda<float>& call, void* stream) {
  return packed_gradient(call, stream);
}
int sum_rows_cuda(const SumRowsCuda<uint16_t>& call, void* stream) {
  return sum_rows(call, stream);
}
int sum_rows_cuda(const SumRowsCuda<float>& call, void* stream) { return sum_rows(call, stream); }

}  // namespace cream::ops
