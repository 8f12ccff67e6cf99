// An emulated device for machines without a GPU: PrivateUse1 over host memory, with the CPU's ATen
// ops. Code behind on_device() runs on it as on a GPU, the kernels of *.cu included. A tensor on
// the wrong device throws.
#pragma once

#include "support/torch.h"

namespace check {

inline const at::Device kEmulated(at::kPrivateUse1, 0);

bool runs_on_gpu();  // whether a GPU was named, which then runs the cases of test_device()

// Called once, before the first case, unless a GPU runs the cases.
void register_emulated();

// Throws Skip where the device is not registered.
at::Tensor emulated(const at::Tensor& x);

// Sets the device's reported memory for its own lifetime. Otherwise the memory is unknown, and
// sizes are not planned.
struct EmulatedMemory {
  explicit EmulatedMemory(uint64_t bytes);
  ~EmulatedMemory();
};
// How often cached memory was released to it.
int64_t emulated_releases();
// How often it was made the current device.
int64_t emulated_guards();

}  // namespace check
