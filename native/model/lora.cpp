#include "model/lora.h"

#include <algorithm>
#include <unordered_map>

#include "model/parameters.h"
#include "support/error.h"
#include "support/random.h"

namespace cream {

namespace {

constexpr uint32_t kPurpose = 0x696E6974u;  // separates this stream from others with the same seed

std::string parameter_name(size_t layer, const std::string& module, const char* half) {
  return "layers." + std::to_string(layer) + "." + module + ".lora_" + half;
}

std::string listed(const std::vector<LoraModule>& modules) {
  std::string out;
  for (const LoraModule& module : modules) out += (out.empty() ? "" : ", ") + module.name;
  return out;
}

// The modules that get adapters by `params` (resolved).
std::vector<LoraModule> targeted(const ModelConfig& config, const LoraParams& params) {
  std::vector<LoraModule> out;
  for (LoraModule& module : lora_modules(config))
    if (std::find(params.targets.begin(), params.targets.end(), module.name) !=
        params.targets.end())
      out.push_back(std::move(module));
  return out;
}

// [rows, columns] uniform within ±bound, one Philox block per four numbers.
Tensor uniform(int64_t rows, int64_t columns, double bound, uint64_t seed, uint32_t site) {
  const Tensor out = at::empty({rows, columns}, at::TensorOptions().dtype(at::kFloat));
  float* const to = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); i += 4) {
    const Philox4 bits = philox(static_cast<uint32_t>(i / 4), site, 0, kPurpose,
                                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
    for (int64_t j = i; j < std::min(i + 4, out.numel()); ++j)
      to[j] =
          static_cast<float>(((static_cast<double>(bits.x[j - i]) + 0.5) * 0x1p-31 - 1) * bound);
  }
  return out;
}

const Tensor* find(const std::unordered_map<std::string, Tensor>& by_name,
                   const std::string& name) {
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : &found->second;
}

}  // namespace

std::vector<LoraModule> lora_modules(const ModelConfig& config) {
  std::vector<LoraModule> out;
  for (const Parameter& parameter : layer_layout(config, 0)) {
    if (parameter.shape.size() != 2) continue;
    int64_t row = 0;
    for (const Part& part : parameter.parts) {
      out.push_back({part.module.substr(part.module.rfind('.') + 1), part.module,
                     matrix_of(parameter.slot), row, part.shape[0], part.shape[1]});
      row += part.shape[0];
    }
  }
  return out;
}

LoraParams resolve_lora(const ModelConfig& config, LoraParams params) {
  const auto fail = [](const std::string& what) {
    throw Error(ErrorCode::invalid_argument, "[lora] " + what);
  };
  constexpr int64_t kMaxRank = 1 << 16;
  if (params.rank < 1 || params.rank > kMaxRank)
    fail("the rank must be from 1 to " + std::to_string(kMaxRank) + ", got " +
         std::to_string(params.rank) + ".");
  if (!std::isfinite(params.alpha)) fail("alpha must be a finite number.");
  if (!(params.dropout >= 0 && params.dropout < 1))
    fail("the dropout must be at least 0 and below 1.");
  const std::vector<LoraModule> modules = lora_modules(config);
  for (const std::string& target : params.targets) {
    if (std::none_of(modules.begin(), modules.end(),
                     [&](const LoraModule& module) { return module.name == target; }))
      fail("this model has no module \"" + target + "\" that an adapter may sit on; it has " +
           listed(modules) + ".");
    if (std::count(params.targets.begin(), params.targets.end(), target) > 1)
      fail("the target module \"" + target + "\" is listed twice; list it once.");
  }
  std::vector<std::string> ordered;
  for (const LoraModule& module : modules)
    if (params.targets.empty() || std::find(params.targets.begin(), params.targets.end(),
                                            module.name) != params.targets.end())
      ordered.push_back(module.name);
  params.targets = std::move(ordered);
  return params;
}

double lora_scale(const LoraParams& params) {
  const auto rank = static_cast<double>(params.rank);
  return params.alpha / (params.rslora ? std::sqrt(rank) : rank);
}

std::vector<std::pair<std::string, std::vector<int64_t>>> adapter_layout(const ModelConfig& config,
                                                                         const LoraParams& params) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> out;
  const std::vector<LoraModule> modules = targeted(config, params);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    for (const LoraModule& module : modules) {
      out.emplace_back(parameter_name(i, module.path, "A"),
                       std::vector<int64_t>{params.rank, module.in});
      out.emplace_back(parameter_name(i, module.path, "B"),
                       std::vector<int64_t>{module.rows, params.rank});
    }
  }
  return out;
}

AdapterTensors new_adapter(const ModelConfig& config, const LoraParams& params, uint64_t seed) {
  AdapterTensors out;
  const std::vector<LoraModule> all = lora_modules(config), modules = targeted(config, params);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    for (const LoraModule& module : modules) {
      // Indexed among all modules, so that adding a target does not change the numbers of the
      // others.
      const auto place =
          std::find_if(all.begin(), all.end(),
                       [&](const LoraModule& other) { return other.name == module.name; }) -
          all.begin();
      const auto site = static_cast<uint32_t>(i * static_cast<int64_t>(all.size()) + place);
      out.emplace_back(parameter_name(i, module.path, "A"),
                       uniform(params.rank, module.in,
                               1 / std::sqrt(static_cast<double>(module.in)), seed, site));
      out.emplace_back(
          parameter_name(i, module.path, "B"),
          at::zeros({module.rows, params.rank}, at::TensorOptions().dtype(at::kFloat)));
    }
  }
  return out;
}

void attach_adapter(Weights& weights, const ModelConfig& config, const LoraParams& params,
                    const AdapterTensors& tensors) {
  if (weights.lora)
    throw Error(ErrorCode::internal, "[lora] the weights carry an adapter already.");
  const std::unordered_map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
  const at::ScalarType dtype = weights.embedding.weight.scalar_type();
  const at::Device device = weights.embedding.weight.device();
  const auto value = [&](const std::string& name, std::vector<int64_t> shape) {
    const Tensor* tensor = find(by_name, name);
    if (tensor == nullptr || tensor->sizes() != at::IntArrayRef(shape))
      throw Error(ErrorCode::internal,
                  "[lora] the parameter " + name + " is missing or has a wrong shape.");
    return tensor->to(device, dtype).contiguous();
  };
  const std::vector<LoraModule> modules = targeted(config, params);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    for (const LoraModule& module : modules) {
      LinearAdapter adapter;
      adapter.begin = module.begin;
      adapter.down.weight = value(parameter_name(i, module.path, "A"), {params.rank, module.in});
      adapter.up.weight = value(parameter_name(i, module.path, "B"), {module.rows, params.rank});
      adapter.scale = lora_scale(params);
      adapter.module = module.path;
      (weights.layers[i].*module.matrix).adapters.push_back(std::move(adapter));
    }
  }
  weights.lora = params;
  weights.pack_adapters();
}

void detach_adapter(Weights& weights) {
  for (LayerWeights& layer : weights.layers)
    for (Linear* linear : layer.matrices()) linear->adapters.clear();
  weights.lora.reset();
}

std::vector<std::pair<std::string, Tensor*>> adapter_parameters(Weights& weights) {
  std::vector<std::pair<std::string, Tensor*>> out;
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    for (Linear* linear : weights.layers[i].matrices()) {
      for (LinearAdapter& adapter : linear->adapters) {
        out.emplace_back(parameter_name(i, adapter.module, "A"), &adapter.down.weight);
        out.emplace_back(parameter_name(i, adapter.module, "B"), &adapter.up.weight);
      }
    }
  }
  return out;
}

void merge_adapter(Weights& weights, const ModelConfig& config, const AdapterTensors& masters) {
  const at::NoGradGuard no_grad;
  const std::unordered_map<std::string, Tensor> by_name(masters.begin(), masters.end());
  const auto wide = [&](const std::string& name, const Tensor& own) {
    const Tensor* master = find(by_name, name);
    return master != nullptr ? master->to(own.device()) : own.to(at::kFloat);
  };
  std::unordered_map<const Tensor*, std::string> names;  // of the matrices
  for (const auto& [name, tensor] : weights.parameters(config)) names.emplace(tensor, name);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    for (Linear* linear : weights.layers[i].matrices()) {
      if (linear->adapters.empty()) continue;
      const Tensor sum = wide(names.at(&linear->weight), linear->weight).clone();  // [out, in] fp32
      for (const LinearAdapter& adapter : linear->adapters) {
        const Tensor down = wide(parameter_name(i, adapter.module, "A"), adapter.down.weight);
        const Tensor up = wide(parameter_name(i, adapter.module, "B"), adapter.up.weight);
        sum.narrow(0, adapter.begin, up.size(0)).addmm_(up, down, 1, adapter.scale);
      }
      linear->weight.copy_(sum);
      linear->adapters.clear();
      ops::pack(*linear);
    }
  }
  weights.lora.reset();
}

}  // namespace cream
