#include "weights/names.h"

namespace cream {

namespace {

Parameter plain(std::string name, std::string huggingface, std::string gguf,
                std::vector<int64_t> shape) {
  return {std::move(name), shape, {{std::move(huggingface), std::move(gguf), shape}}};
}

Parameter joined(std::string name, std::vector<Part> parts) {
  std::vector<int64_t> shape = parts[0].shape;
  for (size_t i = 1; i < parts.size(); ++i) shape[0] += parts[i].shape[0];
  return {std::move(name), std::move(shape), std::move(parts)};
}

// The names of one layer's tensors in both formats.
struct LayerNames {
  std::string ours, huggingface, gguf;
  explicit LayerNames(int64_t index)
      : ours("layers." + std::to_string(index) + "."),
        huggingface("model.layers." + std::to_string(index) + "."),
        gguf("blk." + std::to_string(index) + ".") {}
  Part part(const char* theirs, const char* gg, const char* kind,
            std::vector<int64_t> shape) const {
    return {huggingface + theirs + "." + kind, gguf + gg + "." + kind, std::move(shape)};
  }
};

void add_layer(std::vector<Parameter>& out, const ModelConfig& c, int64_t index) {
  const LayerNames names(index);
  const int64_t hidden = c.hidden_size, middle = c.intermediate_size;
  const auto norm = [&](const char* ours, const char* theirs, const char* gguf, int64_t size) {
    out.push_back(joined(names.ours + ours, {names.part(theirs, gguf, "weight", {size})}));
  };
  // Rows that the file stores as separate tensors and the engine as one matrix, with a bias if the
  // family has one.
  struct Rows {
    const char *theirs, *gguf;
    int64_t rows;
  };
  const auto matrix = [&](const std::string& ours, std::vector<Rows> parts, int64_t columns,
                          bool bias) {
    std::vector<Part> weights, biases;
    for (const Rows& part : parts) {
      weights.push_back(names.part(part.theirs, part.gguf, "weight", {part.rows, columns}));
      biases.push_back(names.part(part.theirs, part.gguf, "bias", {part.rows}));
    }
    out.push_back(joined(names.ours + ours, std::move(weights)));
    if (bias) out.push_back(joined(names.ours + ours + "_bias", std::move(biases)));
  };

  norm("input_norm", "input_layernorm", "attn_norm", hidden);
  if (c.joined_projections) {
    matrix("qkv", {{"self_attn.qkv_proj", "attn_qkv", c.q_size() + 2 * c.kv_size()}}, hidden,
           c.qkv_bias);
  } else {
    matrix("qkv",
           {{"self_attn.q_proj", "attn_q", c.q_size()},
            {"self_attn.k_proj", "attn_k", c.kv_size()},
            {"self_attn.v_proj", "attn_v", c.kv_size()}},
           hidden, c.qkv_bias);
  }
  if (c.qk_norm) {
    norm("q_norm", "self_attn.q_norm", "attn_q_norm", c.head_dim);
    norm("k_norm", "self_attn.k_norm", "attn_k_norm", c.head_dim);
  }
  matrix("out", {{"self_attn.o_proj", "attn_output", hidden}}, c.q_size(), c.output_bias);
  // Llama's post_attention_layernorm comes before the MLP; in families with block norms, the name
  // means the norm on attention's output.
  if (c.block_norms)
    norm("attention_out_norm", "post_attention_layernorm", "post_attention_norm", hidden);
  norm("post_norm", c.block_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm",
       "ffn_norm", hidden);
  if (c.joined_projections) {
    matrix("gate_up", {{"mlp.gate_up_proj", "ffn_up", 2 * middle}}, hidden, c.mlp_bias);
  } else {
    matrix("gate_up", {{"mlp.gate_proj", "ffn_gate", middle}, {"mlp.up_proj", "ffn_up", middle}},
           hidden, c.mlp_bias);
  }
  matrix("down", {{"mlp.down_proj", "ffn_down", hidden}}, middle, c.mlp_bias);
  if (c.block_norms) norm("mlp_out_norm", "post_feedforward_layernorm", "post_ffw_norm", hidden);
}

}  // namespace

std::vector<Parameter> parameter_layout(const ModelConfig& config) {
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  std::vector<Parameter> out;
  out.push_back(
      plain("embedding", "model.embed_tokens.weight", "token_embd.weight", {vocab, hidden}));
  for (int64_t i = 0; i < config.num_layers; ++i) add_layer(out, config, i);
  out.push_back(plain("final_norm", "model.norm.weight", "output_norm.weight", {hidden}));
  const char* head = config.num_labels > 0 ? "score.weight" : "lm_head.weight";
  if (!config.tie_word_embeddings)
    out.push_back(plain("head", head, "output.weight", {config.head_rows(), hidden}));
  return out;
}

bool is_redundant(const std::string& name, const ModelConfig& config) {
  if (name == "lm_head.weight") return config.tie_word_embeddings;
  if (name == "rope_freqs.weight") return true;  // GGUF: part of the config
  return name.starts_with("model.layers.") && name.ends_with(".self_attn.rotary_emb.inv_freq");
}

}  // namespace cream
