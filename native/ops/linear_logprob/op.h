// log softmax(logits)[target] with the head's logits, computed in chunks, so that no full
// [rows, vocab] tensor exists. Sums in fp32.
#pragma once

#include "ops/linear/op.h"
#include "support/torch.h"

namespace cream::ops {

// hidden [rows, hidden], targets [rows] int64 → [rows] fp32. Not differentiable: training uses
// loss/linear_preference.h.
Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets);

namespace device {
Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets);
}

namespace reference {
Tensor linear_logprob(const Tensor& hidden, const Head& head, const Tensor& targets);
}

}  // namespace cream::ops
