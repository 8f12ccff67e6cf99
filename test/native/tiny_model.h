// Random decoders that are small enough to check by brute force, and random tokens. Equal seeds
// give equal models.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include "model/transformer.h"

namespace check {

struct TinyShape {
  int64_t num_kv_heads = 2;  // of 4 heads: 2 is grouped-query, 4 multi-head
  bool tied = true;
  at::ScalarType dtype = at::kFloat;
  int64_t context = 64;
};

inline cream::Transformer tiny_model(const TinyShape& shape = {}, uint64_t seed = 1) {
  cream::ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.model_type = "llama";
  c.vocab_size = 96;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_layers = 3;
  c.num_heads = 4;
  c.num_kv_heads = shape.num_kv_heads;
  c.head_dim = 16;
  c.max_position_embeddings = shape.context;
  c.tie_word_embeddings = shape.tied;

  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const auto add = [&](const std::string& name, at::IntArrayRef size, double mean, double spread) {
    tensors.emplace_back(
        name, at::randn(size, generator, at::kFloat).mul(spread).add(mean).to(shape.dtype));
  };
  add("embedding", {c.vocab_size, c.hidden_size}, 0, 0.4);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    add(layer + "input_norm", {c.hidden_size}, 1, 0.1);
    add(layer + "qkv", {c.q_size() + 2 * c.kv_size(), c.hidden_size}, 0, 0.2);
    add(layer + "out", {c.hidden_size, c.q_size()}, 0, 0.2);
    add(layer + "post_norm", {c.hidden_size}, 1, 0.1);
    add(layer + "gate_up", {2 * c.intermediate_size, c.hidden_size}, 0, 0.2);
    add(layer + "down", {c.hidden_size, c.intermediate_size}, 0, 0.2);
  }
  add("final_norm", {c.hidden_size}, 1, 0.1);
  if (!shape.tied) add("head", {c.vocab_size, c.hidden_size}, 0, 0.4);
  return cream::Transformer(c, cream::weights_from(c, std::move(tensors)));
}

// The four model shapes that modules are tested with.
inline std::vector<TinyShape> tiny_shapes() {
  return {{2, true}, {2, false}, {4, true}, {4, false}};
}

inline cream::Tokens tiny_tokens(int64_t length, uint64_t seed) {
  cream::Tokens tokens;
  uint64_t state = seed * 2654435761u + 12345;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    tokens.push_back(static_cast<cream::TokenId>((state >> 33) % 96));
  }
  return tokens;
}

inline cream::Tokens joined(const cream::Tokens& a, const cream::Tokens& b) {
  cream::Tokens all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

}  // namespace check
