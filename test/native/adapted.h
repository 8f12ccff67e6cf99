// A tiny model with a LoRA adapter.
#pragma once

#include "model/lora.h"
#include "tiny_model.h"

namespace check {

// A tiny model with an adapter whose B is not zero.
struct Adapted {
  cream::Transformer model;
  cream::AdapterTensors masters;
};
inline Adapted adapted(double dropout = 0, at::ScalarType dtype = at::kFloat,
                       std::vector<std::string> targets = {}, double alpha = 7) {
  TinyShape shape;
  shape.dtype = dtype;
  cream::Transformer model = tiny_model(shape);
  const cream::LoraParams params =
      cream::resolve_lora(model.config(), {3, alpha, dropout, false, std::move(targets)});
  cream::AdapterTensors masters = cream::new_adapter(model.config(), params, 5);
  at::manual_seed(3);
  for (auto& [name, tensor] : masters)
    if (name.ends_with("B")) tensor.copy_(at::randn(tensor.sizes()) * 0.05);
  cream::attach_adapter(model.weights(), model.config(), params, masters);
  return {std::move(model), std::move(masters)};
}

}  // namespace check
