// The device of the cases that test GPU code: the emulated device (emulated_device.h), or the one
// that `cream_check --device cuda` names.
#pragma once

#include <string>

#include "model/transformer.h"
#include "support/torch.h"

namespace check {

// Throws Skip where there is none: a build with CUDA has GPU kernels only, and no GPU was named.
at::Device test_device();
// The device's name in a recipe.
std::string device_name();
// Throws cream::Error for a missing device.
void set_test_device(const std::string& name);

inline at::Tensor to_device(const at::Tensor& x) { return x.to(test_device()); }
// A copy of the model on the device; shares no storage with `model`.
cream::Transformer moved(const cream::Transformer& model, at::Device device);
inline cream::Transformer to_device(const cream::Transformer& model) {
  return moved(model, test_device());
}

// The tolerance of a comparison: one for the emulated device, one for a GPU, whose exp, tanh and
// fused multiply-adds round differently.
inline double allowed(double emulated, double gpu) {
  return test_device().is_cuda() ? gpu : emulated;
}

}  // namespace check
