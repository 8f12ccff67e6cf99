// Where tensors live, for code that sees no CUDA header. A build without CUDA has the same
// launchers and kernels, the latter compiled as C++ and emulated by the CPU (support/block.h):
// tests put tensors on a device of their own (PrivateUse1, its memory the host's) and so run all
// that a GPU would run but the launch itself.
#pragma once

#include <string>

#include "support/cuda_info.h"
#include "support/torch.h"

namespace cream {

// Whether the kernels of *.cu serve this tensor.
inline bool on_device(const Tensor& x) { return x.is_cuda() || x.is_privateuseone(); }

// The cudaStream_t that work on this tensor goes to: the current one of its device. Null where the
// CPU plays the kernels.
void* stream_of(const Tensor& x);

// Throws Error{internal}, or {out_of_memory}, that names the kernel where a launcher of *.cu
// returned a CUDA error number.
void check_launch(int error, const char* kernel);

// "cpu", "cuda", "cuda:1" → a device that is there; else Error{invalid_argument | unsupported} that
// says what is and what to do.
at::Device parse_device(const std::string& name);

// Returns when all work given to the device is done; at once on the CPU.
void synchronize(const at::Device& device);

// All of a device's memory in bytes; 0 for the CPU's, and where the device does not say.
uint64_t device_memory(at::Device device);

// Gives back to the device what libtorch keeps there for the next tensors; nothing on the CPU.
void release_device_memory(at::Device device);

// The index of "cuda:N", 0 of "cuda", -1 of "cpu"; Error{invalid_argument} for any other name.
int device_index(const std::string& name);

}  // namespace cream
