// Log-softmax at a target and its gradient on a device.
#include "ops/launch.h"
#include "ops/token_logprob/cuda.h"
#include "ops/token_logprob/op.h"

namespace cream::ops::device {

TokenLogprob token_logprob(const Tensor& logits, const Tensor& targets, double cap) {
  const at::DeviceGuard guard(logits.device());
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  const TokenLogprob out{at::empty({rows}, logits.options()), at::empty({rows}, logits.options())};
  const TokenLogprobCuda call{data<float>(logits),
                              data<int64_t>(targets),
                              writable<float>(out.logprob),
                              writable<float>(out.logsumexp),
                              rows,
                              vocab,
                              static_cast<float>(cap)};
  check_launch(token_logprob_cuda(call, stream_of(logits)), "token_logprob");
  count_fast_run(Op::token_logprob);
  return out;
}

Tensor token_logprob_gradient(Tensor logits, const Tensor& logsumexp, const Tensor& targets,
                              const Tensor& coefficient, at::ScalarType dtype, double cap) {
  const at::DeviceGuard guard(logits.device());
  const Tensor out =
      dtype == at::kFloat ? logits : at::empty(logits.sizes(), logits.options().dtype(dtype));
  by_element(out, [&](auto type) {
    using T = decltype(type);
    const TokenLogprobGradientCuda<T> call{data<float>(logits),    data<float>(logsumexp),
                                           data<int64_t>(targets), data<float>(coefficient),
                                           writable<T>(out),       logits.size(0),
                                           logits.size(1),         static_cast<float>(cap)};
    check_launch(token_logprob_gradient_cuda(call, stream_of(logits)), "token_logprob_gradient");
  });
  return out;
}

}  // namespace cream::ops::device
