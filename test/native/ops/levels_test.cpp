// All instruction sets give the same bits, except where bf16 dot products are involved.
#include <limits>

#include "check.h"
#include "fast_ops.h"
#include "ops/linear_logprob/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/softcap/op.h"
#include "ops/swiglu/op.h"
#include "ops/token_logprob/op.h"

using namespace cream;
using namespace check::fast;
using at::Tensor;
using ops::Level;

namespace {

// f's tensors at this level and at the higher ones that this CPU supports.
void same_from(Level lowest, const std::function<std::vector<Tensor>()>& f) {
  if (ops::cpu_level() <= lowest) throw check::Skip("this CPU has one level only");
  const auto at = [&f](Level level) {
    const ops::ForceLevel force(level);
    return f();
  };
  const std::vector<Tensor> low = at(lowest);
  for (const Level level : {Level::avx512, Level::avx512_bf16, Level::amx}) {
    if (level > ops::cpu_level() || level == lowest) continue;
    const std::vector<Tensor> high = at(level);
    for (size_t i = 0; i < low.size(); ++i)
      if (!at::equal(low[i], high[i]))
        check::fail("tensor " + std::to_string(i) + " differs at " + ops::level_name(level),
                    __FILE__, __LINE__);
  }
}

// Results per level, where only AVX2 and AVX-512 must agree.
void same_below_bf16(const std::function<std::vector<Tensor>()>& f) {
  const ops::ForceLevel force(Level::avx512);
  if (ops::level() != Level::avx512) throw check::Skip("this CPU has no AVX-512");
  const std::vector<Tensor> high = f();
  const ops::ForceLevel lower(Level::avx2);
  const std::vector<Tensor> low = f();
  for (size_t i = 0; i < low.size(); ++i)
    if (!at::equal(low[i], high[i]))
      check::fail("tensor " + std::to_string(i) + " differs between AVX2 and AVX-512", __FILE__,
                  __LINE__);
}

std::vector<Tensor> products(at::ScalarType dtype) {
  at::manual_seed(41);
  const Linear w = packed(203, 100, dtype);
  const Tensor x = at::randn({61, 100}).to(dtype), dy = at::randn({61, 203}).to(dtype),
               targets = at::randint(0, 203, {61}, at::kLong);
  Tensor sum = at::randn({203, 100});
  ops::add_linear_weight_gradient(sum, dy, x);
  const std::vector<Segment> segments = {{0, 70, -1}, {70, 100, 0}, {170, 1, 0}};
  const Tensor q = slice(171, 6, 80, dtype), k = slice(171, 2, 80, dtype),
               v = slice(171, 2, 80, dtype), d_out = at::randn({171, 480}).to(dtype);
  const auto gradient = ops::packed_attention_gradient(q, k, v, d_out, segments, {0, 3.0, 90});
  return {ops::linear(x, w),
          ops::linear_f32(x, w),
          ops::linear_logprob(x, Head{w}, targets),
          ops::linear_input_gradient(dy, w.weight),
          sum,
          ops::packed_attention(q, k, v, segments),
          ops::packed_attention(q, k, v, segments, {0, 3.0, 90}),
          gradient.q,
          gradient.k,
          gradient.v};
}

}  // namespace

CHECK_CASE("ops levels: elementwise ops, sums and roundings have the same bits at every level") {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    same_from(Level::avx2, [dtype] {
      at::manual_seed(40);
      std::vector<Tensor> made;
      for (const int64_t width : {1, 17, 64, 100}) {
        // From subnormals, which rounding to bf16 flushes to 0, to values that saturate the
        // activations.
        const Tensor scale = at::pow(10.0, at::rand({37, 1}).mul_(48).sub_(44)),
                     x = (at::randn({37, width}) * scale).to(dtype),
                     weight = at::randn({width}).to(dtype);
        made.push_back(ops::rms_norm(x, weight, 1e-5));
        made.push_back(ops::rms_norm(x, weight, 1e-5, 1));
        const Tensor both = (at::randn({37, 2 * width}) * scale).to(dtype);
        for (const auto activation : {Activation::silu, Activation::gelu_tanh}) {
          made.push_back(ops::swiglu(both, activation));
          made.push_back(gradient(
              42, both, [activation](const Tensor& t) { return ops::swiglu(t, activation); }));
        }
        made.push_back(gradient(43, at::randn({37, width}).to(dtype),
                                [&](const Tensor& t) { return ops::rms_norm(t, weight, 1e-5); }));
        Tensor capped = at::randn({37, width}) * 30;
        ops::softcap_(capped, 20.0);
        made.push_back(capped);
        const Tensor logits = at::randn({37, width}) * 20,
                     targets = at::randint(0, width, {37}, at::kLong);
        const auto [logprob, logsumexp] = ops::token_logprob(logits, targets);
        made.insert(made.end(), {logprob, logsumexp,
                                 ops::token_logprob_gradient(logits.clone(), logsumexp, targets,
                                                             at::rand({37}), dtype)});
      }
      const Tensor angle = at::rand({37, 40}),
                   heads = (at::randn({37, 3, 40}) *
                            at::pow(10.0, at::rand({37, 3, 1}).mul_(40).sub_(44)))
                               .to(dtype);
      made.push_back(ops::rope(heads, angle.cos(), angle.sin()));
      return made;
    });
}

CHECK_CASE("ops levels: products and attention in fp32 have the same bits at every level") {
  same_from(Level::avx2, [] { return products(at::kFloat); });
}

CHECK_CASE("ops levels: products and attention in bf16 have the same bits on AVX2 and AVX-512") {
  same_below_bf16([] { return products(at::kBFloat16); });
}

CHECK_CASE("ops levels: a test lowers the level, and it comes back") {
  const Level best = ops::cpu_level();
  CHECK(ops::level() == best);
  {
    const ops::ForceLevel force(Level::avx2);
    CHECK(ops::level() == std::min(best, Level::avx2));
    const ops::ForcePlain plain;
    CHECK(ops::level() == Level::plain && !ops::fast_path());
    const ops::ForceLevel not_raised(Level::avx512);
    CHECK(ops::level() == Level::plain);
  }
  CHECK(ops::level() == best);
}
