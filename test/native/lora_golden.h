// A golden adapter of PEFT on its base model (scripts/golden/lora.py).
#pragma once

#include "golden.h"
#include "model/lora.h"
#include "weights/adapter.h"
#include "weights/load.h"

namespace lora_golden {

using namespace cream;

using check::golden_path;

inline Tensor tensor_of(const JsonArray& values, at::IntArrayRef shape) {
  return at::tensor(at::ArrayRef<double>(check::numbers(values)), at::kFloat).view(shape);
}

// The golden adapter on its base model, in fp32.
struct Golden {
  explicit Golden(const std::string& name)
      : loaded(load_weights(golden_path("tiny-gqa-untied"), at::kFloat)),
        config(loaded.config),
        expected(check::golden("lora/" + name + "/expected.json")),
        params(resolve_lora(config, read_adapter_config(golden_path("lora/" + name)).params)),
        masters(read_adapter_tensors(golden_path("lora/" + name), adapter_layout(config, params))),
        model(config, weights_from(config, std::move(loaded.tensors))) {
    attach_adapter(model.weights(), config, params, masters);
  }
  LoadedWeights loaded;
  ModelConfig config;
  JsonValue expected;
  LoraParams params;
  AdapterTensors masters;
  Transformer model;
};

}  // namespace lora_golden
