// Where the cases that try what a GPU runs put their tensors: the emulated device
// (emulated_device.h), or what `cream_check --device cuda` names.
#pragma once

#include <string>

#include "model/transformer.h"
#include "support/torch.h"

namespace check {

// Throws Skip where there is none: the kernels of a build with CUDA are the GPU's, and no GPU was
// named.
at::Device test_device();
// As a recipe names it.
std::string device_name();
// Throws cream::Error for a device that is not there.
void set_test_device(const std::string& name);

inline at::Tensor to_device(const at::Tensor& x) { return x.to(test_device()); }
// The model with its weights there; shares nothing with `model`.
cream::Transformer moved(const cream::Transformer& model, at::Device device);
inline cream::Transformer to_device(const cream::Transformer& model) {
  return moved(model, test_device());
}

// What a comparison allows: on the emulated device, or on a GPU, whose exp, tanh and fused
// multiply-adds round otherwise.
inline double allowed(double emulated, double gpu) {
  return test_device().is_cuda() ? gpu : emulated;
}

}  // namespace check
