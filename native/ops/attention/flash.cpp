#include "ops/attention/flash.h"

#include "ops/attention/cuda.h"
#include "ops/launch.h"
#include "support/device.h"

namespace cream::ops::device {
namespace {

// Makes flash attention's backward pass deterministic: by default it adds dQ with atomics. Filling
// of fresh memory, which that setting would also turn on, stays off.
class Deterministic {
 public:
  Deterministic() {
    context_.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context_.setDeterministicFillUninitializedMemory(false);
  }
  ~Deterministic() {
    context_.setDeterministicAlgorithms(was_, warned_);
    context_.setDeterministicFillUninitializedMemory(filled_);
  }
  Deterministic(const Deterministic&) = delete;
  Deterministic& operator=(const Deterministic&) = delete;

 private:
  at::Context& context_ = at::globalContext();
  const bool was_ = context_.deterministicAlgorithms(),
             warned_ = context_.deterministicAlgorithmsWarnOnly(),
             filled_ = context_.deterministicFillUninitializedMemory();
};

// ATen's window excludes the row's own position.
std::optional<c10::SymInt> window_left(const FlashInput& in) {
  return in.window > 0 ? std::optional<c10::SymInt>(in.window - 1) : std::nullopt;
}
std::optional<c10::SymInt> window_right(const FlashInput& in) {
  return in.window > 0 ? std::optional<c10::SymInt>(0) : std::nullopt;
}

PackedSaved aten_forward(const FlashInput& in) {
  auto [out, logsumexp, rng_state, unused, mask] = at::_flash_attention_forward_symint(
      in.q, in.k, in.v, in.plan.query_ends, in.plan.key_ends, in.plan.most_queries,
      in.plan.most_keys, /*dropout_p=*/0.0, /*is_causal=*/true,
      /*return_debug_mask=*/false, in.scale, window_left(in), window_right(in));
  return {out, logsumexp, rng_state, unused};
}

AttentionGradient aten_backward(const FlashInput& in, const Tensor& d_out,
                                const PackedSaved& saved) {
  const Deterministic deterministic;
  const auto [d_q, d_k, d_v] = at::_flash_attention_backward_symint(
      d_out, in.q, in.k, in.v, saved.out, saved.logsumexp, in.plan.query_ends, in.plan.key_ends,
      in.plan.most_queries, in.plan.most_keys,
      /*dropout_p=*/0.0, /*is_causal=*/true, saved.rng_state, saved.unused, in.scale,
      window_left(in), window_right(in));
  return {d_q, d_k, d_v};
}

FlashInput input_of(const Tensor& q, const Tensor& k, const Tensor& v, const GatherPlan& plan,
                    const AttentionKind& kind) {
  const bool gather = plan.index.defined();
  return {for_kernels(q),
          gather ? k.index_select(0, plan.index) : for_kernels(k),
          gather ? v.index_select(0, plan.index) : for_kernels(v),
          plan,
          kind.scale_of(q.size(2)),
          kind.window};
}

}  // namespace

const FlashCalls aten_flash{aten_forward, aten_backward};

bool takes_flash(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionKind& kind) {
  return q.is_cuda() && q.scalar_type() == at::kBFloat16 && kind.softcap == 0 &&
         fits_kernels({q, k, v}, q.size(2));
}

PackedSaved flash_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<Segment>& segments, const AttentionKind& kind,
                          const FlashCalls& calls) {
  const auto plan = gather_plan(segments, q, k);
  return calls.forward(input_of(q, k, v, *plan, kind));
}

AttentionGradient flash_gradient(const PackedCall& call, const Tensor& d_out,
                                 const PackedSaved& saved, const FlashCalls& calls) {
  const auto plan = gather_plan(call.segments, call.q, call.k);
  AttentionGradient d = calls.backward(input_of(call.q, call.k, call.v, *plan, call.kind),
                                       d_out.reshape(call.q.sizes()).contiguous(), saved);
  if (!plan->index.defined()) return d;
  const at::DeviceGuard guard(call.q.device());
  // A prompt's keys were copied to each of its completions: their gradients are summed per row.
  const Tensor d_k = d.k.contiguous(), d_v = d.v.contiguous();
  AttentionGradient sum{d.q, at::empty(call.k.sizes(), d_k.options()),
                        at::empty(call.v.sizes(), d_v.options())};
  by_element(d_k, [&](auto type) {
    using T = decltype(type);
    const SumRowsCuda<T> rows{data<T>(d_k),
                              data<T>(d_v),
                              mutable_data<T>(sum.k),
                              mutable_data<T>(sum.v),
                              data<int32_t>(plan->offsets),
                              data<int32_t>(plan->sources),
                              call.k.size(0),
                              call.k.size(1) * call.k.size(2)};
    check_launch(sum_rows_cuda(rows, stream_of(d_k)), "packed_attention_gradient");
  });
  return sum;
}

}  // namespace cream::ops::device
