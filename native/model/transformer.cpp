// A Llama-style decoder, pre-norm: x += out(attend(rope(qkv(norm(x))))); x += down(swiglu(gate_up(norm(x)))).
// Touvron et al. 2023; the numbers of Hugging Face's LlamaForCausalLM in float32. In bfloat16 RoPE's cos and sin stay float32,
// where Hugging Face rounds them. Rows are independent of each other everywhere but in `attend`.
#include "model/transformer.h"

#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/swiglu/op.h"
#include "support/error.h"

namespace cream {

Transformer::Transformer(ModelConfig config, Weights weights)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      rope_(make_rope_table(config_, config_.max_position_embeddings)) {}

at::ScalarType Transformer::dtype() const { return weights_.embedding.weight.scalar_type(); }

Tensor Transformer::forward(const Rows& rows, Attention& attention) const {
  const RotaryRows rotary = this->rotary(rows.positions);
  Tensor x = embed(rows.tokens);  // [tokens, hidden]
  for (int64_t i = 0; i < config_.num_layers; ++i) x = layer(i, x, rotary, attention);
  return final_norm(x);
}

Tensor Transformer::embed(const Tensor& tokens) const { return at::embedding(weights_.embedding.weight, tokens); }

Tensor Transformer::layer(int64_t index, const Tensor& x, const RotaryRows& rotary, Attention& attention) const {
  const LayerWeights& w = weights_.layers[index];
  const int64_t tokens = x.size(0), heads = config_.num_heads, kv_heads = config_.num_kv_heads, d = config_.head_dim;
  const int64_t rotated = config_.q_size() + config_.kv_size();

  const Tensor qkv = ops::linear(ops::rms_norm(x, w.input_norm, config_.rms_norm_eps), w.qkv);  // [tokens, q + 2·kv]
  const Tensor qk = ops::rope(qkv.narrow(1, 0, rotated).view({tokens, heads + kv_heads, d}), rotary.cos, rotary.sin);
  const Tensor v = qkv.narrow(1, rotated, config_.kv_size()).view({tokens, kv_heads, d});
  const Tensor attended = attention.attend(index, qk.narrow(1, 0, heads), qk.narrow(1, heads, kv_heads), v);
  const Tensor h = ops::linear(attended, w.out).add_(x);  // [tokens, hidden]

  const Tensor gate_up = ops::linear(ops::rms_norm(h, w.post_norm, config_.rms_norm_eps), w.gate_up);  // [tokens, 2·intermediate]
  return ops::linear(ops::swiglu(gate_up), w.down).add_(h);
}

Tensor Transformer::final_norm(const Tensor& x) const { return ops::rms_norm(x, weights_.final_norm, config_.rms_norm_eps); }

RotaryRows Transformer::rotary(const Tensor& positions) const {
  return {rope_.cos.index_select(0, positions), rope_.sin.index_select(0, positions)};
}

RopeTable make_rope_table(const ModelConfig& config, int64_t positions) {
  const auto f32 = at::TensorOptions().dtype(at::kFloat);
  const Tensor exponent = at::arange(0, config.head_dim, 2, f32).div(static_cast<double>(config.head_dim));
  const Tensor inv_freq = at::pow(at::Scalar(config.rope_theta), exponent).reciprocal();  // [head_dim / 2]
  const Tensor angles = at::outer(at::arange(positions, f32), inv_freq);                  // [positions, head_dim / 2]
  const Tensor both = at::cat({angles, angles}, 1);
  return {both.cos(), both.sin()};
}

}  // namespace cream
