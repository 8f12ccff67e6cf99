// The decoder-only transformer, once, for sampling, scoring and training. No thread, no device
// choice, no cache policy: what attends to what is the caller's `Attention`.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/rope_table.h"
#include "ops/attention/op.h"
#include "ops/linear/op.h"
#include "ops/rope/op.h"
#include "support/torch.h"

namespace cream {

// Projections that read the same input are stored as one matrix, so they run as one GEMM.
// What a family lacks is undefined: biases, and the norms after the first four lines.
struct LayerWeights {
  Tensor input_norm;      // [hidden]
  Linear qkv;             // [q_size + 2·kv_size, hidden]: rows of q, then k, then v
  Linear out;             // [hidden, q_size]
  Tensor post_norm;       // [hidden], before the MLP
  Tensor q_norm, k_norm;  // [head_dim]
  Tensor attention_out_norm, mlp_out_norm;  // [hidden], on what attention and MLP return
  Linear gate_up;                           // [2·intermediate, hidden]: rows of gate, then up
  Linear down;                              // [hidden, intermediate]

  std::array<Linear*, 4> matrices() { return {&qkv, &out, &gate_up, &down}; }
};

struct Weights {
  Linear embedding;  // [vocab, hidden]; also the head where tied
  std::vector<LayerWeights> layers;
  Tensor final_norm;  // [hidden]
  Linear head;  // [vocab, hidden]; shares embedding's storage where tied. Of a classifier: [labels,
                // hidden]
  std::optional<LoraParams>
      lora;  // what the layers' adapters are, where they have some: model/lora.h

  // Every stored parameter but the adapters' once, in a fixed order, with its engine name
  // ("layers.3.qkv"); a tied head is not listed again.
  std::vector<std::pair<std::string, Tensor*>> parameters(const ModelConfig& config);

  // The copies that the fast kernels read: `unpack` before weights change, `pack` once they are
  // final again.
  void pack();
  void pack_adapters();  // theirs alone: the matrices were not touched
  void unpack();
  void unpack_adapters();
};

// Named tensors (engine names, see weights/load.h) → packed weights. Throws Error{internal} on a
// name or shape that the config does not ask for: the reader has checked the file, so a mismatch
// here is a bug.
Weights weights_from(const ModelConfig& config,
                     std::vector<std::pair<std::string, Tensor>>&& tensors);

// The tables' rows for the positions of a batch; a layer picks those of its kind.
struct RotaryRows {
  Tensor cos, sin;              // [tokens, rotary_dim] fp32, see model/rope_table.h
  Tensor local_cos, local_sin;  // of sliding layers, where they differ; else undefined
};

// One layer as attention sees it. Owned by the transformer, which outlives every graph made with
// it.
struct AttentionLayer {
  int64_t index = 0;
  AttentionKind kind;
};

// What the keys and values of a layer are, and who sees whom.
class Attention {
 public:
  virtual ~Attention() = default;
  // q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim], after RoPE → [tokens,
  // heads·head_dim].
  virtual Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                        const Tensor& v) = 0;
  // The same before RoPE: whose cache takes keys where they are rotated has this of its own.
  virtual Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined);
};

// Rows of a packed batch: `tokens` long, sequences one behind the other, no padding.
struct TokenBatch {
  Tensor tokens;     // [tokens] int64
  Tensor positions;  // [tokens] int64, the RoPE position of each row
};

class Transformer {
 public:
  Transformer(ModelConfig config, Weights weights);

  const ModelConfig& config() const { return config_; }
  Weights& weights() { return weights_; }
  const Weights& weights() const { return weights_; }
  at::ScalarType dtype() const;
  at::Device device() const;  // the weights'; every tensor that goes in is there

  Tensor embed(const Tensor& tokens) const;  // [tokens] → [tokens, hidden]
  // One block: x [tokens, hidden] → [tokens, hidden].
  Tensor layer(int64_t index, const Tensor& x, const RotaryRows& rotary,
               Attention& attention) const;
  Tensor final_norm(const Tensor& x) const;
  // All blocks and the final norm: → [tokens, hidden]. The head is applied by the callers, on the
  // rows that need it.
  Tensor forward(const TokenBatch& rows, Attention& attention) const;
  RotaryRows rotary(const Tensor& positions) const;
  double embedding_scale() const;  // what embed() multiplies the rows by, rounded to the model's
                                   // dtype as transformers does

 private:
  // The residual stream and what the last sub-layer adds to it: the sum is made on the way into the
  // next norm, on devices by one kernel.
  struct Stream {
    Tensor x, added;  // [tokens, hidden]; added: undefined where there is nothing
  };
  void block(int64_t index, Stream& stream, const RotaryRows& rotary, Attention& attention) const;
  Tensor norm(const Tensor& x, const Tensor& weight) const;  // over the last dimension
  Tensor norm(Stream& stream, const Tensor& weight) const;   // of the sum, which becomes x
  Tensor attend(int64_t index, const Tensor& qkv, const RotaryRows& rotary,
                Attention& attention) const;

  ModelConfig config_;
  Weights weights_;
  std::vector<AttentionLayer> attention_;
  RopeTable rope_,
      local_rope_;  // every position of the context; local: undefined where all layers share one
};

}  // namespace cream
