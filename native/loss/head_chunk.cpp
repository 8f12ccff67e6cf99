// Three GEMMs per chunk: logits = H·Wᵀ in fp32; then, with dZ the gradient of the logits rounded to
// the compute dtype, dH = dZ·W and dW += dZᵀ·H. If the head multiplies or caps its logits, dZ is
// the gradient with respect to x·Wᵀ before both. The log-sum-exp and the softmax are fp32; dW is
// accumulated in fp32 over the chunks.
#include "loss/head_chunk.h"

#include <utility>

#include "ops/softcap/op.h"
#include "support/device.h"

namespace cream {

HeadChunk::HeadChunk(Tensor hidden, const Head& head, Tensor targets)
    : hidden_(std::move(hidden)), targets_(std::move(targets)), head_(head) {
  // On a device the kernels apply the soft cap when they read the uncapped logits.
  const bool later = on_device(hidden_) && head_.softcap > 0;
  cap_ = later ? head_.softcap : 0;
  Head uncapped = head_;
  if (later) uncapped.softcap = 0;
  logits_ = ops::linear_f32(hidden_, uncapped).contiguous();
  token_ = ops::token_logprob(logits_, targets_, cap_);
}

Tensor HeadChunk::backward(const Tensor& coefficient, Tensor& head_gradient) {
  const auto dtype = hidden_.scalar_type();
  const Tensor slope = head_.softcap != 0 && cap_ == 0
                           ? ops::softcap_slope(logits_, head_.softcap)
                           : Tensor();  // [n, vocab]; read before the logits are overwritten
  Tensor d_logits = ops::token_logprob_gradient(
      std::exchange(logits_, {}), token_.logsumexp, targets_, coefficient * head_.multiplier,
      slope.defined() ? at::kFloat : dtype, cap_);  // [n, vocab]
  if (slope.defined()) d_logits = d_logits.mul_(slope).to(dtype);
  // An undefined gradient means that the head is frozen.
  if (head_gradient.defined()) ops::add_linear_weight_gradient(head_gradient, d_logits, hidden_);
  return ops::linear_input_gradient(d_logits, head_.weight);
}

}  // namespace cream
