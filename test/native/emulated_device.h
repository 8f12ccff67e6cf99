// An emulated device for machines without a GPU: PrivateUse1 over host memory, with the CPU's ATen
// ops. Code behind on_device() runs on it as on a GPU, the kernels of *.cu included. A tensor on
// the wrong device throws.
#pragma once

#include "support/torch.h"

namespace check {

inline const at::Device kEmulated(at::kPrivateUse1, 0);

inline at::Tensor emulated(const at::Tensor& x) { return x.to(kEmulated); }

// Sets the device's reported memory for its own lifetime. Otherwise the memory is unknown, and
// sizes are not planned.
struct EmulatedMemory {
  explicit EmulatedMemory(uint64_t bytes);
  ~EmulatedMemory();
};
// How often cached memory was released to it.
int64_t emulated_releases();

}  // namespace check
