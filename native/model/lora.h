// Low-rank adapters on a model's matrices (LoRA, Hu et al. 2021): where each module lies in the
// joined matrices, the adapters' parameters by name, new ones, and their sum with the weights.
//
// A module "q_proj" is a run of rows of one of a layer's matrices, here its columns of the product.
// An adapter adds two parameters, "layers.3.self_attn.q_proj.lora_A" [rank, in] and "….lora_B"
// [rows, rank]; PEFT's names with a prefix.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// A module that may carry an adapter, the same in every layer.
struct LoraModule {
  std::string name;  // "q_proj"
  std::string path;  // "self_attn.q_proj"
  Linear LayerWeights::* matrix;
  int64_t begin = 0, rows = 0;  // of the matrix
  int64_t in = 0;
};

// All modules of a model in the order of a layer; the names are those of the model's family.
std::vector<LoraModule> lora_modules(const ModelConfig& config);

// `params` with its targets in the order of a layer, all modules where it names none. Throws
// Error{invalid_argument} naming what is impossible: a rank below 1, a dropout outside [0, 1), a
// module that this model does not have or names twice.
LoraParams resolve_lora(const ModelConfig& config, LoraParams params);
double lora_scale(const LoraParams& params);

using AdapterTensors = std::vector<std::pair<std::string, Tensor>>;

// Names and shapes of an adapter's parameters, layer by layer, A before B. `params` is resolved.
std::vector<std::pair<std::string, std::vector<int64_t>>> adapter_layout(const ModelConfig& config,
                                                                         const LoraParams& params);

// As PEFT begins: A uniform within ±1/√in (Kaiming with a = √5), B zero, so that the model starts
// as it was. fp32. The numbers depend on the seed and on the parameter's place alone.
AdapterTensors new_adapter(const ModelConfig& config, const LoraParams& params, uint64_t seed);

// Puts adapters on weights that have none; `tensors` are as adapter_layout() asks, converted to the
// weights' dtype, and packed. Tensors of that dtype already are taken over, not copied.
void attach_adapter(Weights& weights, const ModelConfig& config, const LoraParams& params,
                    const AdapterTensors& tensors);
void detach_adapter(Weights& weights);

// The adapters' parameters by name, in adapter_layout()'s order; empty without an adapter.
std::vector<std::pair<std::string, Tensor*>> adapter_parameters(Weights& weights);

// W ← W + scale·B·A in fp32, rounded once, and no adapter any more. `masters`: fp32 values by
// parameter name, of matrices and adapters, in the place of the weights' own rounded ones; may lack
// any. Writes the weights' storage.
void merge_adapter(Weights& weights, const ModelConfig& config, const AdapterTensors& masters);

}  // namespace cream
