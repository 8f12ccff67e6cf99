// Packed attention on a device, for tensors and autograd. Forward: warp_tiles.h, with the same bits
// as decode; for wider heads flash attention, or else the tile kernels. Backward: flash attention
// on a GPU that supports it, else the tile kernels.
#include "ops/attention/cuda.h"
#include "ops/attention/flash.h"
#include "ops/launch.h"
#include "support/device.h"

namespace cream::ops::device {
namespace {

template <class T>
PackedCuda<T> tile_call(const PackedCall& p, const TilePlan& plan, T* out,
                        const Tensor& logsumexp) {
  const PackedTiles tiles{reinterpret_cast<const QueryTile*>(data<int32_t>(plan.queries)),
                          reinterpret_cast<const KeyTile*>(data<int32_t>(plan.keys)),
                          reinterpret_cast<const Viewer*>(data<int32_t>(plan.viewers)),
                          plan.queries.size(0), plan.keys.size(0)};
  return {data<T>(p.q),
          data<T>(p.k),
          data<T>(p.v),
          out,
          static_cast<float*>(logsumexp.data_ptr()),
          tiles,
          p.q.size(1),
          p.k.size(1),
          p.q.size(2),
          p.q.stride(0),
          p.k.stride(0),
          p.v.stride(0),
          p.kind.window,
          static_cast<float>(p.kind.scale_of(p.q.size(2))),
          static_cast<float>(p.kind.softcap),
          logsumexp.stride(0),
          logsumexp.stride(1)};
}

std::shared_ptr<const TilePlan> plan_of(const PackedCall& p) {
  const int64_t d = p.q.size(2);
  return tile_plan(
      p.segments, p.q, p.k,
      {packed_query_rows(p.q.size(1) / p.k.size(1), d, p.q.scalar_type() == at::kBFloat16),
       packed_key_rows(d)});
}

// `flash`: saves what flash attention's backward pass needs, log-sum-exp as [heads, tokens].
PackedSaved tile_forward(const PackedCall& p, bool flash) {
  const at::DeviceGuard guard(p.q.device());
  const auto plan = plan_of(p);
  const int64_t tokens = p.q.size(0), heads = p.q.size(1);
  const auto wide = p.q.options().dtype(at::kFloat), numbers = p.q.options().dtype(at::kUInt64);
  PackedSaved saved{at::empty(p.q.sizes(), p.q.options()), {}, {}, {}};
  if (flash)
    saved.logsumexp = at::empty({heads, tokens}, wide), saved.rng_state = at::empty({2}, numbers),
    saved.unused = at::empty({}, numbers);
  else
    saved.logsumexp = at::empty({tokens, heads}, wide);
  const Tensor logsumexp = flash ? saved.logsumexp.t() : saved.logsumexp;
  by_element(p.q, [&](auto type) {
    using T = decltype(type);
    check_launch(packed_attention_cuda(
                     tile_call<T>(p, *plan, mutable_data<T>(saved.out), logsumexp), stream_of(p.q)),
                 "packed_attention");
  });
  return saved;
}

AttentionGradient tile_gradient(const PackedCall& p, const Tensor& d_out,
                                const PackedSaved& saved) {
  const at::DeviceGuard guard(p.q.device());
  const auto plan = plan_of(p);
  const Tensor slopes = for_kernels(d_out.reshape(p.q.sizes()).contiguous());
  Tensor delta = at::empty_like(saved.logsumexp);
  AttentionGradient d{at::empty(p.q.sizes(), p.q.options()), at::empty(p.k.sizes(), p.k.options()),
                      at::empty(p.v.sizes(), p.v.options())};
  by_element(p.q, [&](auto type) {
    using T = decltype(type);
    const PackedGradientCuda<T> call{tile_call<T>(p, *plan, nullptr, saved.logsumexp),
                                     data<T>(saved.out),
                                     data<T>(slopes),
                                     mutable_data<float>(delta),
                                     mutable_data<T>(d.q),
                                     mutable_data<T>(d.k),
                                     mutable_data<T>(d.v)};
    check_launch(packed_gradient_cuda(call, stream_of(p.q)), "packed_attention_gradient");
  });
  return d;
}

struct PackedContext : torch::CustomClassHolder {
  std::vector<Segment> segments;
  AttentionKind kind;
  PackedContext(const std::vector<Segment>& segments, const AttentionKind& kind)
      : segments(segments), kind(kind) {}
};

struct PackedFunction : public torch::autograd::Function<PackedFunction> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k,
                        const Tensor& v, int64_t call) {
    const PackedCall& p = *reinterpret_cast<const PackedCall*>(call);
    const PackedSaved saved = packed_forward(q, k, v, p.segments, p.kind);
    const Tensor out = saved.out.view({q.size(0), q.size(1) * q.size(2)});
    context->save_for_backward({q, k, v, out, saved.logsumexp, saved.rng_state, saved.unused});
    context->saved_data["context"] =
        c10::IValue::make_capsule(c10::make_intrusive<PackedContext>(p.segments, p.kind));
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outs) {
    const auto t = context->get_saved_variables();
    const auto held = context->saved_data["context"].toCapsule();
    const auto& of = static_cast<const PackedContext&>(*held);
    const AttentionGradient d =
        packed_backward(t[0], t[1], t[2], d_outs[0], {t[3].view(t[0].sizes()), t[4], t[5], t[6]},
                        {of.segments, of.kind});
    return {d.q, d.k, d.v, Tensor()};
  }
};

}  // namespace

PackedSaved packed_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                           const std::vector<Segment>& segments, const AttentionKind& kind) {
  const bool flash = takes_flash(q, k, v, kind);
  if (flash && !takes_warps(q.size(2))) return flash_forward(q, k, v, segments, kind);
  return tile_forward({for_kernels(q), for_kernels(k), for_kernels(v), segments, kind}, flash);
}

AttentionGradient packed_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& d_out, const PackedSaved& saved,
                                  const PackedLayout& layout) {
  if (takes_flash(q, k, v, layout.kind))
    return flash_gradient({q, k, v, layout.segments, layout.kind}, d_out, saved);
  return tile_gradient(
      {for_kernels(q), for_kernels(k), for_kernels(v), layout.segments, layout.kind}, d_out, saved);
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind) {
  if (!fits_kernels({q, k, v}, q.size(2)))
    return reference::packed_attention(q, k, v, segments, kind);
  if (!wants_gradient({q, k, v}))
    return packed_forward(q, k, v, segments, kind).out.view({q.size(0), q.size(1) * q.size(2)});
  const PackedCall call{q, k, v, segments, kind};
  return PackedFunction::apply(q, k, v, reinterpret_cast<int64_t>(&call));
}

AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind) {
  const at::NoGradGuard no_grad;
  if (!fits_kernels({q, k, v, d_out}, q.size(2)))
    return reference::packed_attention_gradient(q, k, v, d_out, segments, kind);
  return packed_backward(q, k, v, d_out, packed_forward(q, k, v, segments, kind), {segments, kind});
}

}  // namespace cream::ops::device
