// The log-sum-exp uses the same blocks as scoring, so trained and scored log-probs have the same
// bits. Rows are distributed over the threads; kernels if the CPU has them, else the reference.
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/softmax_block.h"
#include "ops/token_logprob/kernel.h"
#include "ops/token_logprob/op.h"
#include "support/parallel.h"

namespace cream::ops {
namespace {

bool fits(const Tensor& logits) {
  return fast_path() && logits.is_cpu() && logits.is_contiguous() &&
         logits.scalar_type() == at::kFloat;
}

}  // namespace

TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap) {
  if (device_dtype(logits)) return device::token_logprob(logits, targets, cap);
  if (cap > 0 || !fits(logits)) return reference::token_logprob(logits, targets, cap);
  count_fast_run(Op::token_logprob);
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  TokenLogprob out{at::empty({rows}, logits.options()), at::empty({rows}, logits.options())};
  const float* const data = logits.const_data_ptr<float>();
  const int64_t* const target = targets.const_data_ptr<int64_t>();
  float* const logprob = out.logprob.mutable_data_ptr<float>();
  float* const logsumexp = out.logsumexp.mutable_data_ptr<float>();
  at_level([&]<Level L>() {
    parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
      const int64_t blocks = softmax_blocks(vocab);
      std::vector<BlockSum> sums(static_cast<size_t>(blocks));
      for (int64_t i = begin; i < end; ++i) {
        const float* const row = data + i * vocab;
        for (int64_t b = 0; b < blocks; ++b)
          sums[b] = block_sum<L>(row + b * softmax_block,
                                 std::min(softmax_block, vocab - b * softmax_block));
        const double sum = log_sum_exp(sums.data(), blocks);
        logsumexp[i] = static_cast<float>(sum);
        logprob[i] = static_cast<float>(row[target[i]] - sum);
      }
    });
  });
  return out;
}

Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap) {
  if (device_dtype(logits))
    return device::token_logprob_gradient(std::move(logits), logsumexp, targets, coefficient, dtype,
                                          cap);
  if (cap > 0 || !fits(logits))
    return reference::token_logprob_gradient(logits, logsumexp, targets, coefficient, dtype, cap);
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  const bool bf16 = dtype == at::kBFloat16;
  // A bf16 row takes the first half of its logits' place: it is written behind what has been read.
  const Tensor gradient = bf16 ? logits.view(at::kBFloat16).narrow(1, 0, vocab) : logits;
  const float* const data = logits.const_data_ptr<float>();
  const float* const lse = logsumexp.const_data_ptr<float>();
  const float* const scale = coefficient.const_data_ptr<float>();
  const int64_t* const target = targets.const_data_ptr<int64_t>();
  at_level([&]<Level L>() {
    parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* const row = data + i * vocab;
        const float at_target =
            scale[i] * (1.0f - std::exp(row[target[i]] - lse[i]));  // before the row is overwritten
        if (bf16) {
          at::BFloat16* const out =
              gradient.mutable_data_ptr<at::BFloat16>() + i * gradient.stride(0);
          row_softmax<L>(row, reinterpret_cast<uint16_t*>(out), vocab, lse[i], -scale[i]);
          out[target[i]] = at_target;
        } else {
          float* const out = gradient.mutable_data_ptr<float>() + i * vocab;
          row_softmax<L>(row, out, vocab, lse[i], -scale[i]);
          out[target[i]] = at_target;
        }
      }
    });
  });
  return gradient;
}

}  // namespace cream::ops
