// A pre-norm decoder (Touvron et al. 2023): x += out(attend(rope(qkv(norm(x))))); x +=
// down(f(gate)·up of gate_up(norm(x))). A family's additions (biases, norms on queries and keys or
// on a sub-layer's output, windows, caps) come from the config as optional tensors; a plain Llama
// uses none. In float32 the results equal those of Hugging Face's …ForCausalLM. In bfloat16, RoPE's
// cos and sin stay float32, while Hugging Face rounds them. Rows are independent except in
// `attend`.
#include "model/transformer.h"

#include <algorithm>

#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"
#include "support/error.h"

namespace cream {

bool batch_invariant(const ModelConfig& config, at::ScalarType dtype, const at::Device& device) {
  if (!ops::attention_is_batch_invariant(config.num_heads, config.num_kv_heads, config.head_dim,
                                         dtype, device))
    return false;
  // On a GPU, products of other sizes leave the choice of a kernel by their rows to cuBLAS.
  const auto sides = {config.hidden_size, config.intermediate_size, config.vocab_size};
  return device.is_cpu() ||
         std::all_of(sides.begin(), sides.end(), [](int64_t side) { return side % 8 == 0; });
}

Tensor Attention::attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) {
  const auto [q, k, v] = ops::rope_heads(joined);
  return attend(layer, q, k, v);
}

Transformer::Transformer(ModelConfig config, Weights weights)
    : config_(std::move(config)), weights_(std::move(weights)) {
  const auto table = [&](const RopeConfig& rope) {
    const RopeTable made =
        make_rope_table(rope, config_, config_.context());  // the same numbers on every device
    return RopeTable{made.cos.to(device()), made.sin.to(device())};
  };
  rope_ = table(config_.rope);
  if (config_.local_rope) local_rope_ = table(*config_.local_rope);
  if (config_.rope.llama_4_scaling_beta > 0)
    query_scale_ = make_query_scale(config_.rope, config_.context()).to(device(), dtype());
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    // A window that is as long as the context has no effect.
    const bool slides = config_.layer(i).sliding && config_.sliding_window < config_.context();
    attention_.push_back({i,
                          {config_.attention_scale(), config_.attention_softcap,
                           slides ? config_.sliding_window : 0}});
  }
}

at::ScalarType Transformer::dtype() const { return weights_.embedding.weight.scalar_type(); }
at::Device Transformer::device() const { return weights_.embedding.weight.device(); }

Tensor Transformer::forward(const TokenBatch& rows, Attention& attention) const {
  const RotaryRows rotary = this->rotary(rows.positions);
  Stream stream{embed(rows.tokens), {}};  // [tokens, hidden]
  for (int64_t i = 0; i < config_.num_layers; ++i) block(i, stream, rotary, attention);
  return input(stream, weights_.final_norm);
}

Tensor Transformer::embed(const Tensor& tokens) const {
  const Tensor rows = at::embedding(weights_.embedding.weight, tokens);
  const double scale = embedding_scale();
  return scale == 1 ? rows : rows * scale;
}

double Transformer::embedding_scale() const {
  if (!config_.scaled_embedding) return config_.embedding_multiplier;
  return at::scalar_tensor(std::sqrt(static_cast<double>(config_.hidden_size)), at::kFloat)
      .to(dtype())
      .item<double>();
}

Tensor Transformer::layer(int64_t index, const Tensor& x, const RotaryRows& rotary,
                          Attention& attention) const {
  Stream stream{x, {}};
  block(index, stream, rotary, attention);
  return stream.added.add_(stream.x);
}

void Transformer::block(int64_t index, Stream& stream, const RotaryRows& rotary,
                        Attention& attention) const {
  const LayerWeights& w = weights_.layers[index];
  const Tensor qkv = ops::linear(input(stream, w.input_norm), w.qkv);  // [tokens, q + 2·kv]
  stream.added = output(ops::linear(attend(index, qkv, rotary, attention), w.out),
                        w.attention_out_norm);  // [tokens, hidden]

  const Tensor gate_up =
      ops::linear(input(stream, w.post_norm), w.gate_up);  // [tokens, 2·intermediate]
  stream.added =
      output(ops::linear(ops::swiglu(gate_up, config_.activation), w.down), w.mlp_out_norm);
}

Tensor Transformer::output(Tensor added, const Tensor& weight) const {
  if (weight.defined()) added = norm(added, weight);
  return config_.residual_multiplier == 1 ? added : added.mul_(config_.residual_multiplier);
}

// qkv [tokens, q + 2·kv] → [tokens, heads·head_dim]. Queries and keys are normalised and rotated as
// the layer's kind requires.
Tensor Transformer::attend(int64_t index, const Tensor& products, const RotaryRows& rotary,
                           Attention& attention) const {
  const Tensor qkv = rotary.query_scale.defined()
                         ? at::cat({products.narrow(1, 0, config_.q_size()) * rotary.query_scale,
                                    products.narrow(1, config_.q_size(), 2 * config_.kv_size())},
                                   1)
                         : products;
  const LayerWeights& w = weights_.layers[index];
  const LayerKind kind = config_.layer(index);
  const int64_t heads = config_.num_heads, kv_heads = config_.num_kv_heads, d = config_.head_dim;
  const bool local = kind.sliding && rotary.local_cos.defined();
  const Tensor &cos = local ? rotary.local_cos : rotary.cos,
               &sin = local ? rotary.local_sin : rotary.sin;
  if (!w.q_norm.defined() && kind.rope)
    return attention.attend_joined(attention_[index], {qkv, cos, sin, heads, kv_heads});
  const Tensor all = qkv.view({qkv.size(0), heads + 2 * kv_heads, d});
  const auto prepare = [&](const Tensor& x, const Tensor& weight) {
    if (!weight.defined()) return x;
    const Tensor normed = norm(x.reshape({-1, weight.size(0)}), weight).view({qkv.size(0), -1, d});
    return kind.rope ? ops::rope(normed, cos, sin) : normed;
  };
  return attention.attend(attention_[index], prepare(all.narrow(1, 0, heads), w.q_norm),
                          prepare(all.narrow(1, heads, kv_heads), w.k_norm),
                          all.narrow(1, heads + kv_heads, kv_heads));
}

Tensor Transformer::input(Stream& stream, const Tensor& weight) const {
  if (!weight.defined()) {
    if (stream.added.defined()) stream.x = std::exchange(stream.added, {}).add_(stream.x);
    return stream.x;
  }
  if (!stream.added.defined()) return norm(stream.x, weight);
  auto [sum, normed] = ops::add_rms_norm(std::exchange(stream.added, {}), stream.x, weight,
                                         config_.rms_norm_eps, config_.norm_offset);
  stream.x = std::move(sum);
  return normed;
}

Tensor Transformer::norm(const Tensor& x, const Tensor& weight) const {
  return ops::rms_norm(x, weight, config_.rms_norm_eps, config_.norm_offset);
}

Tensor Transformer::final_norm(const Tensor& x) const { return norm(x, weights_.final_norm); }

RotaryRows Transformer::rotary(const Tensor& positions) const {
  RotaryRows rows{
      rope_.cos.index_select(0, positions), rope_.sin.index_select(0, positions), {}, {}, {}};
  if (query_scale_.defined()) rows.query_scale = query_scale_.index_select(0, positions);
  if (!local_rope_.cos.defined()) return rows;
  rows.local_cos = local_rope_.cos.index_select(0, positions);
  rows.local_sin = local_rope_.sin.index_select(0, positions);
  return rows;
}

}  // namespace cream
