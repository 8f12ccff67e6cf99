#include "model/parameters.h"

namespace cream {

namespace {

// A part of a parameter within a layer, as the files name it.
struct PartNames {
  const char *huggingface, *gguf;
  int64_t rows;
};

// Collects the parameters of one layer.
class LayerTable {
 public:
  explicit LayerTable(int64_t index) : index_(index) {}

  void norm(const char* slot, const PartNames& names) {
    add(slot, {part(names, "weight", {names.rows})});
  }

  // Rows that a file may store as separate tensors and the engine as one matrix, with a bias if the
  // family has one.
  void matrix(const char* slot, const std::vector<PartNames>& parts, int64_t columns, bool bias) {
    std::vector<Part> weights, biases;
    for (const PartNames& names : parts) {
      weights.push_back(part(names, "weight", {names.rows, columns}));
      biases.push_back(part(names, "bias", {names.rows}));
    }
    add(slot, std::move(weights));
    if (bias) add(std::string(slot) + "_bias", std::move(biases));
  }

  std::vector<Parameter> take() { return std::move(all_); }

 private:
  Part part(const PartNames& names, const std::string& kind, std::vector<int64_t> shape) const {
    const std::string index = std::to_string(index_) + ".";
    return {"model.layers." + index + names.huggingface + "." + kind,
            "blk." + index + names.gguf + "." + kind, std::move(shape), names.huggingface};
  }

  void add(const std::string& slot, std::vector<Part> parts) {
    std::vector<int64_t> shape = parts[0].shape;
    for (size_t i = 1; i < parts.size(); ++i) shape[0] += parts[i].shape[0];
    all_.push_back({"layers." + std::to_string(index_) + "." + slot, std::move(shape),
                    std::move(parts), index_, slot});
  }

  int64_t index_;
  std::vector<Parameter> all_;
};

Parameter outside(std::string name, std::string huggingface, std::string gguf,
                  const std::vector<int64_t>& shape) {
  return {std::move(name), shape, {{std::move(huggingface), std::move(gguf), shape, ""}}};
}

}  // namespace

std::vector<Parameter> layer_layout(const ModelConfig& c, int64_t index) {
  const int64_t hidden = c.hidden_size, middle = c.intermediate_size;
  const int64_t q = c.q_size(), kv = c.kv_size();
  LayerTable table(index);
  if (c.input_norms) table.norm("input_norm", {"input_layernorm", "attn_norm", hidden});
  if (c.joined_projections)
    table.matrix("qkv", {{"self_attn.qkv_proj", "attn_qkv", q + 2 * kv}}, hidden, c.qkv_bias);
  else
    table.matrix("qkv",
                 {{"self_attn.q_proj", "attn_q", q},
                  {"self_attn.k_proj", "attn_k", kv},
                  {"self_attn.v_proj", "attn_v", kv}},
                 hidden, c.qkv_bias);
  if (c.qk_norm != QkNorm::none) {
    const bool whole = c.qk_norm == QkNorm::whole;
    table.norm("q_norm", {"self_attn.q_norm", "attn_q_norm", whole ? q : c.head_dim});
    table.norm("k_norm", {"self_attn.k_norm", "attn_k_norm", whole ? kv : c.head_dim});
  }
  table.matrix("out", {{"self_attn.o_proj", "attn_output", hidden}}, q, c.output_bias);
  // Llama's post_attention_layernorm comes before the MLP; in families with norms on outputs, the
  // name means the norm on attention's output.
  if (c.output_norms)
    table.norm("attention_out_norm", {"post_attention_layernorm", "post_attention_norm", hidden});
  if (c.input_norms)
    table.norm("post_norm",
               {c.output_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm",
                "ffn_norm", hidden});
  if (c.joined_projections)
    table.matrix("gate_up", {{"mlp.gate_up_proj", "ffn_up", 2 * middle}}, hidden, c.mlp_bias);
  else
    table.matrix("gate_up",
                 {{"mlp.gate_proj", "ffn_gate", middle}, {"mlp.up_proj", "ffn_up", middle}}, hidden,
                 c.mlp_bias);
  table.matrix("down", {{"mlp.down_proj", "ffn_down", hidden}}, middle, c.mlp_bias);
  if (c.output_norms)
    table.norm("mlp_out_norm", {"post_feedforward_layernorm", "post_ffw_norm", hidden});
  return table.take();
}

std::vector<Parameter> parameter_layout(const ModelConfig& config) {
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  std::vector<Parameter> out;
  out.push_back(
      outside("embedding", "model.embed_tokens.weight", "token_embd.weight", {vocab, hidden}));
  for (int64_t i = 0; i < config.num_layers; ++i)
    for (Parameter& parameter : layer_layout(config, i)) out.push_back(std::move(parameter));
  out.push_back(outside("final_norm", "model.norm.weight", "output_norm.weight", {hidden}));
  const char* head = config.num_labels > 0 ? "score.weight" : "lm_head.weight";
  if (!config.tie_word_embeddings)
    out.push_back(outside("head", head, "output.weight", {config.head_rows(), hidden}));
  return out;
}

bool is_redundant(const std::string& name, const ModelConfig& config) {
  if (name == "lm_head.weight") return config.tie_word_embeddings;
  if (name == "rope_freqs.weight") return true;  // GGUF: part of the config
  return name.starts_with("model.layers.") && name.ends_with(".self_attn.rotary_emb.inv_freq");
}

}  // namespace cream
