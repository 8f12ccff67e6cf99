// A model's parameters by engine name: the one list that loading, training and saving share.
#include <map>
#include <sstream>

#include "model/transformer.h"
#include "support/error.h"

namespace cream {

namespace {

// In order of the forward pass: embedding, each layer from input to output, final norm, head.
template <class W, class Visit>
void visit_parameters(W& weights, const ModelConfig& config, Visit&& visit) {
  visit("embedding", weights.embedding.weight);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    auto& layer = weights.layers[i];
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const auto where = [&](bool present, const char* name, auto& tensor) {
      if (present) visit(prefix + name, tensor);
    };
    visit(prefix + "input_norm", layer.input_norm);
    visit(prefix + "qkv", layer.qkv.weight);
    where(config.qkv_bias, "qkv_bias", layer.qkv.bias);
    where(config.qk_norm, "q_norm", layer.q_norm);
    where(config.qk_norm, "k_norm", layer.k_norm);
    visit(prefix + "out", layer.out.weight);
    where(config.output_bias, "out_bias", layer.out.bias);
    where(config.block_norms, "attention_out_norm", layer.attention_out_norm);
    visit(prefix + "post_norm", layer.post_norm);
    visit(prefix + "gate_up", layer.gate_up.weight);
    where(config.mlp_bias, "gate_up_bias", layer.gate_up.bias);
    visit(prefix + "down", layer.down.weight);
    where(config.mlp_bias, "down_bias", layer.down.bias);
    where(config.block_norms, "mlp_out_norm", layer.mlp_out_norm);
  }
  visit("final_norm", weights.final_norm);
  if (!config.tie_word_embeddings) visit("head", weights.head.weight);
}

std::vector<int64_t> expected_shape(const ModelConfig& config, const std::string& name) {
  const std::string part =
      name.substr(name.rfind('.') == std::string::npos ? 0 : name.rfind('.') + 1);
  if (part == "embedding") return {config.vocab_size, config.hidden_size};
  if (part == "head") return {config.head_rows(), config.hidden_size};
  if (part == "qkv") return {config.q_size() + 2 * config.kv_size(), config.hidden_size};
  if (part == "out") return {config.hidden_size, config.q_size()};
  if (part == "gate_up") return {2 * config.intermediate_size, config.hidden_size};
  if (part == "down") return {config.hidden_size, config.intermediate_size};
  if (part == "qkv_bias") return {config.q_size() + 2 * config.kv_size()};
  if (part == "gate_up_bias") return {2 * config.intermediate_size};
  if (part == "q_norm" || part == "k_norm") return {config.head_dim};
  return {config.hidden_size};  // the other norms and biases
}

// The matrices that a forward pass multiplies by; the embedding is only looked up.
template <class Visit>
void visit_matrices(Weights& weights, Visit&& visit) {
  for (LayerWeights& layer : weights.layers)
    for (Linear* linear : layer.matrices()) visit(*linear);
  visit(weights.head);
}

}  // namespace

std::vector<std::pair<std::string, Tensor*>> Weights::parameters(const ModelConfig& config) {
  std::vector<std::pair<std::string, Tensor*>> all;
  visit_parameters(*this, config, [&](const std::string& name, Tensor& tensor) {
    all.emplace_back(name, &tensor);
  });
  return all;
}

void Weights::pack() {
  visit_matrices(*this, [](Linear& linear) { ops::pack(linear); });
}

void Weights::pack_adapters() {
  visit_matrices(*this, [](Linear& linear) { ops::pack_adapters(linear); });
}

void Weights::unpack() {
  visit_matrices(*this, [](Linear& linear) { ops::unpack(linear); });
}

void Weights::unpack_adapters() {
  visit_matrices(*this, [](Linear& linear) { ops::unpack_adapters(linear); });
}

Weights weights_from(const ModelConfig& config,
                     std::vector<std::pair<std::string, Tensor>>&& tensors) {
  std::map<std::string, Tensor> by_name;
  for (auto& [name, tensor] : tensors) by_name.emplace(name, std::move(tensor));
  tensors.clear();

  Weights weights;
  weights.layers.resize(config.num_layers);
  visit_parameters(weights, config, [&](const std::string& name, Tensor& parameter) {
    auto found = by_name.extract(name);
    if (found.empty())
      throw Error(ErrorCode::internal, "[model] parameter " + name + " is missing.");
    const auto shape = expected_shape(config, name);
    if (found.mapped().sizes() != at::IntArrayRef(shape)) {
      std::ostringstream out;
      out << "[model] parameter " << name << " has shape " << found.mapped().sizes()
          << ", the config asks for " << at::IntArrayRef(shape) << ".";
      throw Error(ErrorCode::internal, out.str());
    }
    parameter = found.mapped().contiguous();
  });
  if (!by_name.empty())
    throw Error(ErrorCode::internal,
                "[model] parameter " + by_name.begin()->first + " is not part of this model.");
  if (config.tie_word_embeddings) weights.head.weight = weights.embedding.weight;
  weights.head.softcap = config.final_softcap;
  weights.pack();
  return weights;
}

}  // namespace cream
