// Softmax attention, O = P·V with P = softmax(S), S = scale·Q·Kᵀ, and its gradients by hand (Dao 2022, appendix B.2):
//
//   dV = Pᵀ·dO    dP = dO·Vᵀ    dS = P∘(dP − rowsum(dP∘P))    dQ = scale·dS·K    dK = scale·dSᵀ·Q
//
// Where scores are capped, P = softmax(T) with T = c·tanh(S / c), and dS = dT∘(1 − (T / c)²). What a window hides has P = 0.
// The forward is the op that scoring runs. Autograd through its slices would fill and add a whole-batch gradient for every
// segment, and ATen's flash backward is the slowest part of a step on short sequences. Here P is made again per segment in
// fp32; a prompt's dK and dV are summed in fp32 over the prompt itself and its completions. Prompt groups run in parallel.
#include "train/attention.h"

#include <limits>

namespace cream {
namespace {

// Segments first … last−1: a prompt and what continues it.
struct Group {
  size_t first, last;
};

std::vector<Group> groups_of(const std::vector<Segment>& segments) {
  std::vector<Group> groups;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].prefix < 0) groups.push_back({i, i});
    groups.back().last = i + 1;
  }
  return groups;
}

struct Gradients {
  const Tensor &q, &k, &v, &d_out;   // q, d_out [tokens, heads, d]; k, v [tokens, kv_heads, d]
  Tensor d_q, d_k, d_v;              // fp32, the same shapes
  int64_t kv_heads, group, d;
  AttentionKind kind;

  // Rows of a segment, the query heads of one key head below each other: [kv_heads, group·length, d] fp32. May share x's memory.
  Tensor queries(const Tensor& x, const Segment& s) const {
    return x.narrow(0, s.start, s.length).view({s.length, kv_heads, group, d}).permute({1, 2, 0, 3}).to(at::kFloat).reshape({kv_heads, group * s.length, d});
  }
  // The prefix's rows and the segment's own: [kv_heads, prefix + length, d] fp32.
  Tensor keys(const Tensor& x, const Segment& s, const Segment* prefix) const {
    const Tensor own = x.narrow(0, s.start, s.length);
    const Tensor all = prefix ? at::cat({x.narrow(0, prefix->start, prefix->length), own}) : own;
    return all.transpose(0, 1).to(at::kFloat).contiguous();
  }
  void add_keys(Tensor& sum, const Tensor& d_keys, const Segment& s, const Segment* prefix) const {
    const int64_t before = prefix ? prefix->length : 0;
    if (prefix) sum.narrow(0, prefix->start, before).add_(d_keys.narrow(1, 0, before).transpose(0, 1));
    sum.narrow(0, s.start, s.length).add_(d_keys.narrow(1, before, s.length).transpose(0, 1));
  }

  void add(const Segment& s, const Segment* prefix) {
    const double scale = kind.scale_of(d);
    const Tensor q_s = queries(q, s) * scale, d_o = queries(d_out, s);
    const Tensor k_s = keys(k, s, prefix), v_s = keys(v, s, prefix);
    const int64_t before = prefix ? prefix->length : 0, seen = before + s.length;
    const auto everything = [&] { return at::full({s.length, seen}, -std::numeric_limits<float>::infinity(), q_s.options()); };
    Tensor hidden = everything().triu_(before + 1);
    if (kind.window > 0) hidden.add_(everything().tril_(before - kind.window));
    Tensor p = at::bmm(q_s, k_s.transpose(1, 2));  // [kv_heads, group·length, seen]
    const Tensor capped = kind.softcap != 0 ? p.div_(kind.softcap).tanh_().clone() : Tensor();  // T / c
    if (capped.defined()) p.mul_(kind.softcap);
    p.view({kv_heads, group, s.length, seen}).add_(hidden);
    p = at::softmax(p, -1);
    add_keys(d_v, at::bmm(p.transpose(1, 2), d_o), s, prefix);
    Tensor d_s = at::_softmax_backward_data(at::bmm(d_o, v_s.transpose(1, 2)), p, -1, at::kFloat);
    if (capped.defined()) d_s = d_s * (1 - capped.square());
    add_keys(d_k, at::bmm(d_s.transpose(1, 2), q_s), s, prefix);
    d_q.narrow(0, s.start, s.length).view({s.length, kv_heads, group, d}).copy_(
        at::bmm(d_s, k_s).mul_(scale).view({kv_heads, group, s.length, d}).permute({2, 0, 1, 3}));
  }
};

struct PackedAttentionFunction : public torch::autograd::Function<PackedAttentionFunction> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v, int64_t segments,
                        int64_t kind) {
    context->save_for_backward({q, k, v});
    context->saved_data["segments"] = segments;
    context->saved_data["kind"] = kind;
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::NoGradGuard no_grad;
    return ops::packed_attention(q, k, v, *reinterpret_cast<const std::vector<Segment>*>(segments), *reinterpret_cast<const AttentionKind*>(kind));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list d_outs) {
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const auto& segments = *reinterpret_cast<const std::vector<Segment>*>(context->saved_data["segments"].toInt());
    const Tensor d_out = d_outs[0].reshape(q.sizes());
    const auto zeros = [](const Tensor& x) { return at::zeros(x.sizes(), x.options().dtype(at::kFloat)); };
    Gradients gradients{q, k, v, d_out, zeros(q), zeros(k), zeros(v), k.size(1), q.size(1) / k.size(1), q.size(2),
                        *reinterpret_cast<const AttentionKind*>(context->saved_data["kind"].toInt())};
    const std::vector<Group> groups = groups_of(segments);
    at::parallel_for(0, static_cast<int64_t>(groups.size()), 1, [&](int64_t begin, int64_t end) {
      const at::NoGradGuard no_grad;
      for (int64_t g = begin; g < end; ++g)
        for (size_t i = groups[g].first; i < groups[g].last; ++i)
          gradients.add(segments[i], segments[i].prefix < 0 ? nullptr : &segments[segments[i].prefix]);
    });
    return {gradients.d_q.to(q.scalar_type()), gradients.d_k.to(k.scalar_type()), gradients.d_v.to(v.scalar_type()), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor TrainingAttention::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  return PackedAttentionFunction::apply(q, k, v, reinterpret_cast<int64_t>(&segments_), reinterpret_cast<int64_t>(&layer.kind));
}

}  // namespace cream
