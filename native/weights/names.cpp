#include "weights/names.h"

namespace cream {

namespace {

Parameter plain(std::string name, std::string huggingface, std::string gguf, std::vector<int64_t> shape) {
  return {std::move(name), shape, {{std::move(huggingface), std::move(gguf), shape}}};
}

Parameter joined(std::string name, std::vector<Part> parts) {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.shape[0];
  return {std::move(name), {rows, parts[0].shape[1]}, std::move(parts)};
}

void add_layer(std::vector<Parameter>& out, const ModelConfig& c, int64_t index) {
  const std::string i = std::to_string(index), ours = "layers." + i + ".", hf = "model.layers." + i + ".", gg = "blk." + i + ".";
  const int64_t hidden = c.hidden_size, middle = c.intermediate_size;
  const auto part = [&](const char* theirs, const char* gguf, int64_t rows, int64_t columns) {
    return Part{hf + theirs + ".weight", gg + gguf + ".weight", {rows, columns}};
  };
  out.push_back(plain(ours + "input_norm", hf + "input_layernorm.weight", gg + "attn_norm.weight", {hidden}));
  out.push_back(joined(ours + "qkv", {part("self_attn.q_proj", "attn_q", c.q_size(), hidden),
                                      part("self_attn.k_proj", "attn_k", c.kv_size(), hidden),
                                      part("self_attn.v_proj", "attn_v", c.kv_size(), hidden)}));
  out.push_back(joined(ours + "out", {part("self_attn.o_proj", "attn_output", hidden, c.q_size())}));
  out.push_back(plain(ours + "post_norm", hf + "post_attention_layernorm.weight", gg + "ffn_norm.weight", {hidden}));
  out.push_back(joined(ours + "gate_up", {part("mlp.gate_proj", "ffn_gate", middle, hidden),
                                          part("mlp.up_proj", "ffn_up", middle, hidden)}));
  out.push_back(joined(ours + "down", {part("mlp.down_proj", "ffn_down", hidden, middle)}));
}

}  // namespace

std::vector<Parameter> parameter_layout(const ModelConfig& config) {
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  std::vector<Parameter> out;
  out.push_back(plain("embedding", "model.embed_tokens.weight", "token_embd.weight", {vocab, hidden}));
  for (int64_t i = 0; i < config.num_layers; ++i) add_layer(out, config, i);
  out.push_back(plain("final_norm", "model.norm.weight", "output_norm.weight", {hidden}));
  if (!config.tie_word_embeddings) out.push_back(plain("head", "lm_head.weight", "output.weight", {vocab, hidden}));
  return out;
}

bool is_redundant(const std::string& name, const ModelConfig& config) {
  if (name == "lm_head.weight") return config.tie_word_embeddings;
  return name.starts_with("model.layers.") && name.ends_with(".self_attn.rotary_emb.inv_freq");
}

}  // namespace cream
