// The packed head in blocks of 1,024 columns, into a buffer that stays in L2; only max and Σ exp of
// each block are kept. Distributed over threads as chunks of rows × blocks. The sums are merged in
// block order, so neither the distribution nor the other rows change a result.
#include "ops/linear_logprob/op.h"

#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/linear/kernel.h"
#include "ops/linear/packed.h"
#include "ops/softcap/kernel.h"
#include "ops/softmax_block.h"
#include "support/error.h"
#include "support/parallel.h"

namespace cream::ops {
namespace {

// Rows that are multiplied together, which stay in L2 with their logits: 84 × 1,024 fp32 are 336
// KB. The head is read once for each chunk, so that few rows would leave AMX waiting for memory.
template <Level L>
int64_t chunk_rows(int64_t in) {
  return (L == Level::amx && in <= 2048 ? 2 : 1) * packed::whole_blocks<L>;
}

template <class T>
struct Work {
  const packed::Weight& head;
  const T* hidden;
  int64_t rows, stride;
  const int64_t* targets;
  BlockSum* sums;       // [rows, blocks]
  float* target_logit;  // [rows] logit of the target
  float multiplier;
  float softcap;  // 0: none
};

// Runs [begin, end) of the grid (chunk of rows, block of columns), blocks innermost.
template <Level L, class T>
void run(const Work<T>& w, int64_t begin, int64_t end) {
  const int64_t blocks = softmax_blocks(w.head.out), depth = packed::padded_in(w.head.in),
                chunk = chunk_rows<L>(w.head.in);
  std::vector<packed::Gathered<L, T>> gathered(chunk * depth);
  std::vector<float> logits(chunk * softmax_block);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / blocks * chunk, block = item % blocks,
                  n = std::min(chunk, w.rows - row);
    if (item == begin || block == 0)
      packed::gather<L, T>(w.hidden + row * w.stride, w.stride, n, w.head.in, gathered.data());
    const int64_t column = block * softmax_block,
                  columns = std::min(softmax_block, w.head.out - column);
    const int64_t first = column / packed::panel_columns;
    packed::multiply<L, T>({gathered.data(), n, w.head.in, w.head.template data<T>(), w.head.out,
                            first, first + packed::panels(columns), logits.data(), softmax_block,
                            /*f32=*/true});
    for (int64_t r = 0; r < n; ++r) {
      float* line = logits.data() + r * softmax_block;
      if (w.multiplier != 1)
        for (int64_t i = 0; i < columns; ++i) line[i] *= w.multiplier;
      if (w.softcap != 0) softcap_values<without_tiles(L)>(line, columns, w.softcap);
      w.sums[(row + r) * blocks + block] = block_sum<without_tiles(L)>(line, columns);
      const int64_t target = w.targets[row + r] - column;
      if (target >= 0 && target < columns) w.target_logit[row + r] = line[target];
    }
  }
}

}  // namespace

Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets) {
  at::NoGradGuard no_grad;
  if (device_dtype(hidden)) return device::linear_logprob(hidden, head, targets);
  const packed::Weight* fast = packed::usable(hidden, head);
  if (!fast) return reference::linear_logprob(hidden, head, targets);
  const Tensor x = hidden.stride(1) == 1 ? hidden : hidden.contiguous(),
               ids = targets.to(at::kLong).contiguous();
  const int64_t rows = x.size(0), blocks = softmax_blocks(fast->out);
  if (x.size(1) != fast->in || ids.numel() != rows)
    throw Error(ErrorCode::internal,
                "linear_logprob: hidden, head and targets do not fit together.");
  Tensor out = at::empty({rows}, x.options().dtype(at::kFloat));
  float* result = static_cast<float*>(out.mutable_data_ptr());
  std::vector<BlockSum> sums(rows * blocks);
  by_product_type(x, [&]<Level L, class T>() {
    const Work<T> work{*fast,
                       data<T>(x),
                       rows,
                       x.stride(0),
                       ids.const_data_ptr<int64_t>(),
                       sums.data(),
                       result,
                       static_cast<float>(head.multiplier),
                       static_cast<float>(head.softcap)};
    const int64_t chunk = chunk_rows<L>(fast->in);
    parallel_for(0, (rows + chunk - 1) / chunk * blocks, 1,
                 [&](int64_t begin, int64_t end) { run<L>(work, begin, end); });
  });
  for (int64_t row = 0; row < rows; ++row)
    result[row] = static_cast<float>(result[row] - log_sum_exp(&sums[row * blocks], blocks));
  count_fast_run(Op::linear_logprob);
  return out;
}

}  // namespace cream::ops
