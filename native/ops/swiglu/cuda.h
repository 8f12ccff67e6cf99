// act(gate)·up on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

#include "support/activation.h"

namespace cream::ops {

template <class T>
struct SwigluCuda {
  const T* gate_up;  // [rows, 2·n]
  const T* dy;       // backward only, [rows, n]
  T* out;            // forward [rows, n]; backward [rows, 2·n]
  int64_t rows, n;
  Activation activation;
};
int swiglu_cuda(const SwigluCuda<uint16_t>& call, void* stream);
int swiglu_cuda(const SwigluCuda<float>& call, void* stream);

}  // namespace cream::ops
