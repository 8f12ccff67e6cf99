// Cross entropy on hidden states with its gradients, in chunks: L = Σ_rows w·(−log
// softmax(h·Wᵀ)[target]), dL/dlog p = −w. The row weights are known in advance, so every chunk is
// computed once.
#include "loss/head_chunk.h"
#include "loss/linear_preference.h"

namespace cream {

HeadGradient linear_cross_entropy(const Tensor& hidden, const Head& head, const Tensor& targets,
                                  const Tensor& row_weights, Tensor& head_gradient,
                                  int64_t chunk_rows) {
  const at::NoGradGuard no_grad;
  HeadGradient result{0, at::empty_like(hidden)};
  // Kept on the device and read once at the end, because reading waits for the device.
  Tensor loss = at::zeros({}, row_weights.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk_rows) {
    const int64_t rows = std::min(chunk_rows, hidden.size(0) - begin);
    HeadChunk chunk(hidden.narrow(0, begin, rows), head, targets.narrow(0, begin, rows));
    const Tensor weights = row_weights.narrow(0, begin, rows);
    loss.sub_(at::dot(weights.to(at::kDouble), chunk.logprob().to(at::kDouble)));
    result.d_hidden.narrow(0, begin, rows).copy_(chunk.backward(weights.neg(), head_gradient));
  }
  result.loss = loss.item<double>();
  return result;
}

}  // namespace cream
