// The shape and the options of a decoder-only transformer, read from a Hugging Face config.json or
// from GGUF metadata. A model family is a set of these values (families.h), never a class.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/types.h"

namespace cream {

// transformers' rope_parameters. A number that is 0 is absent from the file.
struct RopeConfig {
  std::string type = "default";  // or "linear", "dynamic", "llama3", "yarn", "longrope"
  double theta = 10000.0;
  double partial_rotary_factor =
      1;  // rotary_dim / head_dim; the first entries of a head are rotated
  double factor = 0;
  double attention_factor = 0;  // multiplies cos and sin (yarn, longrope); 0: derived from `factor`
  int64_t original_max_position_embeddings = 0;
  double low_freq_factor = 0, high_freq_factor = 0;                     // llama3
  double beta_fast = 0, beta_slow = 0, mscale = 0, mscale_all_dim = 0;  // yarn
  // A query at position p is multiplied by 1 + this·log(1 + ⌊p / original⌋) (Ministral 3).
  double llama_4_scaling_beta = 0;
  bool truncate = true;                                     // yarn
  std::vector<double> short_factor = {}, long_factor = {};  // longrope, one per rotated pair

  int64_t rotary_dim(int64_t head_dim) const {
    return static_cast<int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
  }
  bool operator==(const RopeConfig&) const = default;
};

// RMS norm on queries and keys, before RoPE: none, over each head, or over all heads of a token.
enum class QkNorm { none, per_head, whole };

struct LayerKind {
  bool sliding = false;  // attends to the last `sliding_window` positions only
  bool rope = true;      // false: no position encoding (SmolLM3's NoPE layers)
  bool operator==(const LayerKind&) const = default;
};

struct ModelConfig {
  std::string architecture = {};  // Hugging Face's class, e.g. "LlamaForCausalLM"
  std::string model_type = {};    // "llama"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;  // the file's number; context() is the engine's limit
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;
  int64_t bos_token_id = -1;  // -1: none
  std::vector<int64_t> eos_token_ids = {};
  // torch's padding_idx: as an input, this token gives the embedding no gradient. -1: none.
  int64_t pad_token_id = -1;
  int64_t num_labels = 0;  // 0: a causal language model; else sequence classification, whose head
                           // gives one logit per label

  RopeConfig rope = {};
  std::optional<RopeConfig> local_rope = {};  // for sliding layers, if they differ (Gemma 3)
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  QkNorm qk_norm = QkNorm::none;
  bool input_norms = true;        // norms on the inputs of attention and MLP
  bool output_norms = false;      // norms on their outputs (Gemma, OLMo)
  double norm_offset = 0;         // 1: norms multiply by weight + 1 (Gemma)
  bool scaled_embedding = false;  // embeddings times sqrt(hidden_size) (Gemma)
  // Granite's factors of embeddings, of sub-layers' outputs and, divided by it, of logits.
  double embedding_multiplier = 1, residual_multiplier = 1, logits_scaling = 1;
  double attention_multiplier = 0;  // the attention scale itself; 0: from query_pre_attn_scalar
  Activation activation = Activation::silu;
  double query_pre_attn_scalar = 0;  // attention scale = this^(−1/2); 0: use head_dim
  double attention_softcap = 0;      // scores become c·tanh(score / c); 0: no cap
  double final_softcap = 0;          // the same for the logits
  int64_t sliding_window =
      0;  // window of a sliding layer, own position included; 0: no sliding layers
  std::vector<LayerKind> layers = {};  // one per layer; empty: full attention and RoPE everywhere
  bool joined_projections =
      false;  // the file joins q, k, v in one tensor and gate, up in another (Phi-3)

  int64_t head_rows() const { return num_labels > 0 ? num_labels : vocab_size; }
  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
  LayerKind layer(int64_t index) const {
    return layers.empty() ? LayerKind{} : layers[static_cast<size_t>(index)];
  }
  // The longest sequence in tokens, up to which no RoPE frequency depends on the sequence's
  // length.
  int64_t context() const;
  double attention_scale() const;
  bool operator==(const ModelConfig&) const = default;
};

// Upper limits for untrusted files: above every released Llama, and products of two fit in 64 bits.
struct ConfigLimits {
  static constexpr int64_t labels = 1 << 16, vocab = 1 << 22, hidden = 1 << 17,
                           intermediate = 1 << 20, layers = 1024, heads = 4096, head_dim = 1024,
                           positions = 1 << 20;
};

// Throws Error{invalid_file} naming `source` unless every size is within limits and the sizes are
// consistent.
void validate_config(const ModelConfig& config, const std::string& source);

// Parses and validates config.json. Throws Error{invalid_file | unsupported} naming `source`.
ModelConfig config_from_json(const std::string& json, const std::string& source);

// The config.json from which transformers builds the same model.
std::string config_to_json(const ModelConfig& config, DType dtype);

}  // namespace cream
