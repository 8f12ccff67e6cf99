// The decoder-only transformer, shared by sampling, scoring and training. It has no threads, no
// device choice and no cache policy: the caller's `Attention` decides which positions attend to
// which.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/rope_table.h"
#include "ops/attention/op.h"
#include "ops/linear/op.h"
#include "ops/rope/op.h"
#include "support/torch.h"

namespace cream {

// Projections with the same input are stored as one matrix, so they run as one GEMM. A tensor that
// the family lacks is undefined: a bias or a norm.
struct LayerWeights {
  Tensor input_norm;      // [hidden], before attention
  Linear qkv;             // [q_size + 2·kv_size, hidden]: rows of q, then k, then v
  Linear out;             // [hidden, q_size]
  Tensor post_norm;       // [hidden], before the MLP
  Tensor q_norm, k_norm;  // [head_dim], or over all heads: [q_size] and [kv_size]
  Tensor attention_out_norm, mlp_out_norm;  // [hidden], on the outputs of attention and MLP
  Linear gate_up;                           // [2·intermediate, hidden]: rows of gate, then up
  Linear down;                              // [hidden, intermediate]

  std::array<Linear*, 4> matrices() { return {&qkv, &out, &gate_up, &down}; }
};

// The matrix of this name in the parameter table (model/parameters.h), "qkv". Throws
// Error{internal} for another name.
Linear LayerWeights::* matrix_of(std::string_view slot);

// Whether a sequence has the same bits whatever else is in its batch (docs/determinism.md).
bool batch_invariant(const ModelConfig& config, at::ScalarType dtype, const at::Device& device);

struct Weights {
  Linear embedding;  // [vocab, hidden]; also the head where tied
  std::vector<LayerWeights> layers;
  Tensor final_norm;  // [hidden]
  // [vocab, hidden]; shares embedding's storage if tied. A classifier: [labels, hidden]
  Head head;
  std::optional<LoraParams> lora;  // of the layers' adapters, if any: model/lora.h

  // Every stored parameter except the adapters', once and in a fixed order, with its engine name
  // ("layers.3.qkv"). A tied head is not listed again.
  std::vector<std::pair<std::string, Tensor*>> parameters(const ModelConfig& config);

  // Packed copies for the fast kernels: call `unpack` before the weights change and `pack`
  // afterwards.
  void pack();
  void pack_adapters();  // only the adapters: the matrices did not change
  void unpack();
  void unpack_adapters();
};

// Named tensors (engine names, see weights/load.h) → packed weights. Throws Error{internal} for a
// name or shape that the config does not have: the reader has checked the file, so a mismatch here
// is a bug.
Weights weights_from(const ModelConfig& config,
                     std::vector<std::pair<std::string, Tensor>>&& tensors);

// Rows of the RoPE tables for the positions of a batch, for both kinds of layer.
struct RotaryRows {
  Tensor cos, sin;              // [tokens, rotary_dim] fp32, see model/rope_table.h
  Tensor local_cos, local_sin;  // for sliding layers, if they differ; else undefined
  Tensor query_scale;           // [tokens, 1] in the model's dtype, or undefined (Ministral 3)
};

// A layer's constants for attention. Owned by the transformer, which outlives every graph made with
// it.
struct AttentionLayer {
  int64_t index = 0;
  AttentionKind kind;
};

// Supplies the keys and values of a layer and the mask between positions.
class Attention {
 public:
  virtual ~Attention() = default;
  // q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim], after RoPE → [tokens,
  // heads·head_dim].
  virtual Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                        const Tensor& v) = 0;
  // attend() on a projection before RoPE. An implementation overrides it to write rotated keys
  // straight to its cache.
  virtual Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined);
};

// The packed input of one forward pass: sequences concatenated, without padding.
struct TokenBatch {
  Tensor tokens;     // [tokens] int64
  Tensor positions;  // [tokens] int64, RoPE position of each token
};

class Transformer {
 public:
  Transformer(ModelConfig config, Weights weights);

  const ModelConfig& config() const { return config_; }
  Weights& weights() { return weights_; }
  const Weights& weights() const { return weights_; }
  at::ScalarType dtype() const;
  at::Device device() const;  // that of the weights; all inputs must be on it

  Tensor embed(const Tensor& tokens) const;  // [tokens] → [tokens, hidden]
  // One decoder layer: x [tokens, hidden] → [tokens, hidden].
  Tensor layer(int64_t index, const Tensor& x, const RotaryRows& rotary,
               Attention& attention) const;
  Tensor final_norm(const Tensor& x) const;
  // All layers and the final norm → [tokens, hidden]. Callers apply the head to the rows that need
  // it.
  Tensor forward(const TokenBatch& rows, Attention& attention) const;
  RotaryRows rotary(const Tensor& positions) const;
  double embedding_scale() const;  // factor of embed(); Gemma's is rounded to the model's dtype

 private:
  // The residual stream and the last sub-layer's output. The next norm adds the two, in one kernel
  // on devices.
  struct Stream {
    Tensor x, added;  // [tokens, hidden]; added may be undefined
  };
  void block(int64_t index, Stream& stream, const RotaryRows& rotary, Attention& attention) const;
  Tensor norm(const Tensor& x, const Tensor& weight) const;  // over the last dimension
  // A sub-layer's input: x becomes x + added, and the result is its norm, or x itself if `weight`
  // is undefined.
  Tensor input(Stream& stream, const Tensor& weight) const;
  // A sub-layer's output before it is added to the stream; `weight` of its norm may be undefined.
  Tensor output(Tensor added, const Tensor& weight) const;
  Tensor attend(int64_t index, const Tensor& qkv, const RotaryRows& rotary,
                Attention& attention) const;

  ModelConfig config_;
  Weights weights_;
  std::vector<AttentionLayer> attention_;
  // All positions; local_rope_ is undefined if all layers share one table, query_scale_ if no query
  // is scaled.
  RopeTable rope_, local_rope_;
  Tensor query_scale_;  // [positions, 1]
};

}  // namespace cream
