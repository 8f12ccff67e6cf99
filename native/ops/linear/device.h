// Linear layers with adapters on a device.
#pragma once

#include "ops/linear/op.h"

namespace cream::ops::device {

// Whether adapted() computes the layer: it has adapters, and no autograd leaf among its weights.
bool runs_adapted(const Tensor& x, const Linear& w);

// x·Wᵀ + b with the adapters added by the GEMMs that compute them, in x's dtype. Differentiable
// with respect to x; the gradients of W, A and B are added to `gradient` of W, down and up where
// defined. `w` must outlive the autograd graph.
Tensor adapted(const Tensor& x, const Linear& w);

// sum += scale·dyᵀ·x, added by the GEMM.
void add_weight_gradient(Tensor sum, const Tensor& dy, const Tensor& x, double scale);

}  // namespace cream::ops::device
