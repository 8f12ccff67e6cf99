// Maps the parameters of the table (model/parameters.h) to the tensors that store them.
#include <map>
#include <sstream>

#include "model/parameters.h"
#include "model/transformer.h"
#include "support/error.h"

namespace cream {

namespace {

using Norm = Tensor LayerWeights::*;
using Matrix = Linear LayerWeights::*;

constexpr std::pair<std::string_view, Matrix> kMatrices[] = {{"qkv", &LayerWeights::qkv},
                                                             {"out", &LayerWeights::out},
                                                             {"gate_up", &LayerWeights::gate_up},
                                                             {"down", &LayerWeights::down}};
constexpr std::pair<std::string_view, Norm> kNorms[] = {
    {"input_norm", &LayerWeights::input_norm},
    {"q_norm", &LayerWeights::q_norm},
    {"k_norm", &LayerWeights::k_norm},
    {"attention_out_norm", &LayerWeights::attention_out_norm},
    {"post_norm", &LayerWeights::post_norm},
    {"mlp_out_norm", &LayerWeights::mlp_out_norm}};

// The tensor that stores a parameter.
Tensor& tensor_of(Weights& weights, const Parameter& parameter) {
  if (parameter.layer < 0)
    return parameter.name == "embedding"    ? weights.embedding.weight
           : parameter.name == "final_norm" ? weights.final_norm
                                            : weights.head.weight;
  LayerWeights& layer = weights.layers[static_cast<size_t>(parameter.layer)];
  for (const auto& [slot, norm] : kNorms)
    if (slot == parameter.slot) return layer.*norm;
  constexpr std::string_view kBias = "_bias";
  const bool bias = parameter.slot.ends_with(kBias);
  const std::string_view matrix =
      std::string_view(parameter.slot).substr(0, parameter.slot.size() - (bias ? kBias.size() : 0));
  Linear& linear = layer.*matrix_of(matrix);
  return bias ? linear.bias : linear.weight;
}

// Visits the matrices that a forward pass multiplies by; the embedding is only looked up.
template <class Visit>
void visit_matrices(Weights& weights, Visit&& visit) {
  for (LayerWeights& layer : weights.layers)
    for (Linear* linear : layer.matrices()) visit(*linear);
  visit(weights.head);
}

}  // namespace

Linear LayerWeights::* matrix_of(std::string_view slot) {
  for (const auto& [name, matrix] : kMatrices)
    if (name == slot) return matrix;
  throw Error(ErrorCode::internal, "[model] a layer has no matrix " + std::string(slot) + ".");
}

std::vector<std::pair<std::string, Tensor*>> Weights::parameters(const ModelConfig& config) {
  std::vector<std::pair<std::string, Tensor*>> all;
  for (const Parameter& parameter : parameter_layout(config))
    all.emplace_back(parameter.name, &tensor_of(*this, parameter));
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
  for (const Parameter& parameter : parameter_layout(config)) {
    auto found = by_name.extract(parameter.name);
    if (found.empty())
      throw Error(ErrorCode::internal, "[model] parameter " + parameter.name + " is missing.");
    if (found.mapped().sizes() != at::IntArrayRef(parameter.shape)) {
      std::ostringstream out;
      out << "[model] parameter " << parameter.name << " has shape " << found.mapped().sizes()
          << ", the config asks for " << at::IntArrayRef(parameter.shape) << ".";
      throw Error(ErrorCode::internal, out.str());
    }
    tensor_of(weights, parameter) = found.mapped().contiguous();
  }
  if (!by_name.empty())
    throw Error(ErrorCode::internal,
                "[model] parameter " + by_name.begin()->first + " is not part of this model.");
  if (config.tie_word_embeddings) weights.head.weight = weights.embedding.weight;
  weights.head.multiplier = 1 / config.logits_scaling;
  weights.head.softcap = config.final_softcap;
  weights.pack();
  return weights;
}

}  // namespace cream
