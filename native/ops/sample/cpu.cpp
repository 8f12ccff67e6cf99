#include "ops/sample/op.h"

namespace cream::ops {

Draw sample(const float* logits, int64_t vocab, const SamplingParams& params, const Tokens* banned, double u) {
  return reference::sample(logits, vocab, params, banned, u);
}

}  // namespace cream::ops
