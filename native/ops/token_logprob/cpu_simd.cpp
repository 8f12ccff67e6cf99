// Scaled softmax of one row of logits, 16 at a time.
// exp(x) = 2ⁿ · p(r), n = round(x / ln 2), r = x − n·ln 2 in two parts; p is the Taylor polynomial
// of degree 6 on |r| ≤ ln 2 / 2, whose remainder is below 2e-7.
#include "ops/token_logprob/kernel.h"

#include "ops/simd.h"

namespace cream::ops {
namespace {

inline Floats exp_wide(Floats x) {
  // Below −104 exp is 0 in fp32. The bound is the first operand because max returns its second for
  // a NaN, which must propagate.
  x = max16(set16(-104.0f), x);
  const Floats n = round16(mul16(x, set16(1.44269504088896341f)));
  Floats r = fnma16(n, set16(0.693359375f), x);
  r = fnma16(n, set16(-2.12194440e-4f), r);
  Floats p = set16(1.0f / 720);
  p = fma16(p, r, set16(1.0f / 120));
  p = fma16(p, r, set16(1.0f / 24));
  p = fma16(p, r, set16(1.0f / 6));
  p = fma16(p, r, set16(0.5f));
  p = fma16(p, r, set16(1.0f));
  p = fma16(p, r, set16(1.0f));
  return scale16(p, n);
}

// out(j, mask, value) for every block of the row; the last block is masked.
template <class Store>
inline void each_softmax_block(const float* logits, int64_t vocab, float logsumexp, float scale,
                               Store&& store) {
  const Floats shift = set16(logsumexp), factor = set16(scale);
  for (int64_t j = 0; j < vocab; j += 16) {
    const Mask mask = first_lanes(vocab - j);
    const Floats x = sub16(load16(logits + j, mask), shift);
    store(j, mask, mul16(exp_wide(x), factor));
  }
}

}  // namespace

template <>
void row_softmax<CREAM_LEVEL>(const float* logits, float* out, int64_t vocab, float logsumexp,
                              float scale) {
  each_softmax_block(logits, vocab, logsumexp, scale,
                     [out](int64_t j, Mask mask, Floats value) { store16(out + j, value, mask); });
}

template <>
void row_softmax<CREAM_LEVEL>(const float* logits, uint16_t* out, int64_t vocab, float logsumexp,
                              float scale) {
  each_softmax_block(logits, vocab, logsumexp, scale, [out](int64_t j, Mask mask, Floats value) {
    store_halves(out + j, exact_bf16(value), mask);
  });
}

}  // namespace cream::ops
