// Attention in training: the forward op of scoring, with its gradient op, as an autograd function.
#include "train/attention.h"

#include "support/device.h"

namespace cream {
namespace {

struct PackedAttentionFunction : public torch::autograd::Function<PackedAttentionFunction> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k,
                        const Tensor& v, int64_t segments, int64_t kind) {
    context->save_for_backward({q, k, v});
    context->saved_data["segments"] = segments;
    context->saved_data["kind"] = kind;
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::NoGradGuard no_grad;
    return ops::packed_attention(q, k, v, *reinterpret_cast<const std::vector<Segment>*>(segments),
                                 *reinterpret_cast<const AttentionKind*>(kind));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outs) {
    const auto saved = context->get_saved_variables();
    const auto& segments =
        *reinterpret_cast<const std::vector<Segment>*>(context->saved_data["segments"].toInt());
    const auto& kind = *reinterpret_cast<const AttentionKind*>(context->saved_data["kind"].toInt());
    const ops::AttentionGradient d =
        ops::packed_attention_gradient(saved[0], saved[1], saved[2], d_outs[0], segments, kind);
    return {d.q, d.k, d.v, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor TrainingAttention::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                                 const Tensor& v) {
  // The device's op is differentiable itself.
  if (on_device(q)) return ops::packed_attention(q, k, v, segments_, layer.kind);
  return PackedAttentionFunction::apply(q, k, v, reinterpret_cast<int64_t>(&segments_),
                                        reinterpret_cast<int64_t>(&layer.kind));
}

}  // namespace cream
