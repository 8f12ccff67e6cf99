// A device for machines without one: PrivateUse1, its memory the host's, its ATen ops those of the
// CPU over the same memory. What on_device() serves runs on it as on a GPU, the kernels of *.cu
// included; a tensor made on the wrong device throws.
#pragma once

#include "support/torch.h"

namespace check {

inline const at::Device kEmulated(at::kPrivateUse1, 0);

inline at::Tensor emulated(const at::Tensor& x) { return x.to(kEmulated); }

// What the device says that it has, while this lives; otherwise it does not say, and nothing is
// planned.
struct EmulatedMemory {
  explicit EmulatedMemory(uint64_t bytes);
  ~EmulatedMemory();
};
// How often memory was given back to it.
int64_t emulated_releases();

}  // namespace check
