// LoRA adapters (Hu et al. 2021): where each target module lies in the joined matrices, the
// adapter's parameters by name, their initialisation, and merging into the weights.
//
// A module such as "q_proj" is a range of rows of one of a layer's matrices, which is a range of
// columns of the product. An adapter adds two parameters to it, "layers.3.self_attn.q_proj.lora_A"
// [rank, in] and "….lora_B" [rows, rank]: PEFT's names with a prefix.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// A module that may carry an adapter; the same in every layer.
struct LoraModule {
  std::string name;  // "q_proj"
  std::string path;  // "self_attn.q_proj"
  Linear LayerWeights::* matrix;
  int64_t begin = 0, rows = 0;  // rows of the matrix
  int64_t in = 0;
};

// All modules in the order of a layer, with the names of the model's family.
std::vector<LoraModule> lora_modules(const ModelConfig& config);

// `params` with its target modules in the order of a layer; all modules if it names none. Throws
// Error{invalid_argument} for a rank below 1, a dropout outside [0, 1), and a module that this
// model lacks or that is named twice.
LoraParams resolve_lora(const ModelConfig& config, LoraParams params);
double lora_scale(const LoraParams& params);

using AdapterTensors = std::vector<std::pair<std::string, Tensor>>;

// Names and shapes of the adapter's parameters, layer by layer, A before B. `params` is resolved.
std::vector<std::pair<std::string, std::vector<int64_t>>> adapter_layout(const ModelConfig& config,
                                                                         const LoraParams& params);

// Initialised as in PEFT: A uniform within ±1/√in (Kaiming with a = √5), B zero, so the model's
// output is unchanged. fp32. The values depend only on the seed and the parameter's position.
AdapterTensors new_adapter(const ModelConfig& config, const LoraParams& params, uint64_t seed);

// Attaches an adapter to weights that have none. `tensors` follow adapter_layout(); they are
// converted to the weights' dtype and packed. Tensors that already have that dtype are shared, not
// copied.
void attach_adapter(Weights& weights, const ModelConfig& config, const LoraParams& params,
                    const AdapterTensors& tensors);
void detach_adapter(Weights& weights);

// The adapter's parameters by name, in the order of adapter_layout(); empty without an adapter.
std::vector<std::pair<std::string, Tensor*>> adapter_parameters(Weights& weights);

// Merges the adapter, W ← W + scale·B·A in fp32 with one rounding, and removes it. `masters` holds
// fp32 values by parameter name, of matrices and adapters, that replace the rounded ones; any may
// be missing. Writes to the weights' storage.
void merge_adapter(Weights& weights, const ModelConfig& config, const AdapterTensors& masters);

}  // namespace cream
