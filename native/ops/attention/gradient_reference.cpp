// The gradients of O = P·V with P = softmax(S), S = scale·Q·Kᵀ, by hand in fp32 (Dao 2022, appendix
// B.2):
//
//   dV = Pᵀ·dO    dP = dO·Vᵀ    dS = P∘(dP − rowsum(dP∘P))    dQ = scale·dS·K    dK = scale·dSᵀ·Q
//
// With capped scores, P = softmax(T) with T = c·tanh(S / c), and dS = dT∘(1 − (T / c)²). Masked
// positions have P = 0. Written by hand because autograd through the segments' slices would fill
// and add a whole-batch gradient for every segment.
#include <limits>

#include "ops/attention/op.h"

namespace cream::ops::reference {
namespace {

struct Gradients {
  const Tensor &q, &k, &v, &d_out;  // q, d_out [tokens, heads, d]; k, v [tokens, kv_heads, d]
  Tensor d_q, d_k, d_v;             // fp32, the same shapes
  int64_t kv_heads, group, d;
  AttentionKind kind;

  // Rows of a segment with the query heads of one kv head stacked: [kv_heads, group·length, d]
  // fp32. May share x's memory.
  Tensor queries(const Tensor& x, const Segment& s) const {
    return x.narrow(0, s.start, s.length)
        .view({s.length, kv_heads, group, d})
        .permute({1, 2, 0, 3})
        .to(at::kFloat)
        .reshape({kv_heads, group * s.length, d});
  }
  // The prefix's rows and the segment's own: [kv_heads, prefix + length, d] fp32.
  Tensor keys(const Tensor& x, const Segment& s, const Segment* prefix) const {
    const Tensor own = x.narrow(0, s.start, s.length);
    const Tensor all = prefix ? at::cat({x.narrow(0, prefix->start, prefix->length), own}) : own;
    return all.transpose(0, 1).to(at::kFloat).contiguous();
  }
  void add_keys(Tensor& sum, const Tensor& d_keys, const Segment& s, const Segment* prefix) const {
    const int64_t before = prefix ? prefix->length : 0;
    if (prefix)
      sum.narrow(0, prefix->start, before).add_(d_keys.narrow(1, 0, before).transpose(0, 1));
    sum.narrow(0, s.start, s.length).add_(d_keys.narrow(1, before, s.length).transpose(0, 1));
  }

  void add(const Segment& s, const Segment* prefix) {
    const double scale = kind.scale_of(d);
    const Tensor q_s = queries(q, s) * scale, d_o = queries(d_out, s);
    const Tensor k_s = keys(k, s, prefix), v_s = keys(v, s, prefix);
    const int64_t before = prefix ? prefix->length : 0, seen = before + s.length;
    const auto everything = [&] {
      return at::full({s.length, seen}, -std::numeric_limits<float>::infinity(), q_s.options());
    };
    Tensor hidden = everything().triu_(before + 1);
    if (kind.window > 0) hidden.add_(everything().tril_(before - kind.window));
    Tensor p = at::bmm(q_s, k_s.transpose(1, 2));  // [kv_heads, group·length, seen]
    const Tensor capped =
        kind.softcap != 0 ? p.div_(kind.softcap).tanh_().clone() : Tensor();  // T / c
    if (capped.defined()) p.mul_(kind.softcap);
    p.view({kv_heads, group, s.length, seen}).add_(hidden);
    p = at::softmax(p, -1);
    add_keys(d_v, at::bmm(p.transpose(1, 2), d_o), s, prefix);
    Tensor d_s = at::_softmax_backward_data(at::bmm(d_o, v_s.transpose(1, 2)), p, -1, at::kFloat);
    if (capped.defined()) d_s = d_s * (1 - capped.square());
    add_keys(d_k, at::bmm(d_s.transpose(1, 2), q_s), s, prefix);
    d_q.narrow(0, s.start, s.length)
        .view({s.length, kv_heads, group, d})
        .copy_(at::bmm(d_s, k_s)
                   .mul_(scale)
                   .view({kv_heads, group, s.length, d})
                   .permute({2, 0, 1, 3}));
  }
};

}  // namespace

AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind) {
  const at::NoGradGuard no_grad;
  const auto zeros = [](const Tensor& x) {
    return at::zeros(x.sizes(), x.options().dtype(at::kFloat));
  };
  const Tensor d_heads = d_out.reshape(q.sizes());
  Gradients gradients{
      q,         k,   v, d_heads, zeros(q), zeros(k), zeros(v), k.size(1), q.size(1) / k.size(1),
      q.size(2), kind};
  for (const Segment& s : segments) gradients.add(s, s.prefix < 0 ? nullptr : &segments[s.prefix]);
  return {gradients.d_q.to(q.scalar_type()), gradients.d_k.to(k.scalar_type()),
          gradients.d_v.to(v.scalar_type())};
}

}  // namespace cream::ops::reference
