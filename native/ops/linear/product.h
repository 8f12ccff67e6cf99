// Products with weights on a device, in bf16 with one order of summation: a row's bits depend on
// that row alone, not on the number of rows, so that sampler, scorer and trainer agree.
#pragma once

#include "ops/linear/op.h"

namespace cream::ops::device {

// x [rows, in] · wᵀ, w [out, in] → [rows, out] in x's dtype or fp32. No autograd.
Tensor product(const Tensor& x, const Tensor& w, at::ScalarType dtype);

// y += scale·(x·wᵀ), one rounding of the sum; y may be columns of a larger matrix.
void add_product(const Tensor& y, const Tensor& x, const Tensor& w, double scale);

// The kernel for few rows, and whether it supports these tensors. x and w are bf16, y is bf16 or
// fp32.
bool takes_thin(const Tensor& x, const Tensor& w);
void thin_product(const Tensor& x, const Tensor& w, const Tensor& y);

}  // namespace cream::ops::device
