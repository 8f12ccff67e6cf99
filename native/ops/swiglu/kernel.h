#pragma once

#include <cstdint>

#include "ops/level.h"
#include "support/activation.h"

namespace cream::ops {

// gate_up [rows, 2·n] contiguous → y [rows, n]; bf16 as uint16_t.
template <Level L>
void swiglu_rows(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t n,
                 Activation activation);
template <Level L>
void swiglu_rows(const float* gate_up, float* y, int64_t rows, int64_t n, Activation activation);
// dy [rows, n] → d_gate_up [rows, 2·n].
template <Level L>
void swiglu_backward_rows(const uint16_t* gate_up, const uint16_t* dy, uint16_t* d_gate_up,
                          int64_t rows, int64_t n, Activation activation);
template <Level L>
void swiglu_backward_rows(const float* gate_up, const float* dy, float* d_gate_up, int64_t rows,
                          int64_t n, Activation activation);

}  // namespace cream::ops
