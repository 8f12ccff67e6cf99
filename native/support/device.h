// Device queries for code without CUDA headers. A build without CUDA has the same launchers and
// kernels, compiled as C++ and run by the CPU (support/block.h). The tests' emulated device
// (PrivateUse1 over host memory) thus covers everything but the CUDA launch itself.
#pragma once

#include <string>

#include "support/cuda_info.h"
#include "support/torch.h"

namespace cream {

// Whether ops on this tensor use the kernels of *.cu.
inline bool on_device(const Tensor& x) { return x.is_cuda() || x.is_privateuseone(); }

// The current cudaStream_t of this tensor's device; null where the CPU runs the kernels.
void* stream_of(const Tensor& x);

// Throws Error{internal | out_of_memory} that names the kernel if `error` is not 0. `error` is the
// result of a launcher in a *.cu file: a cudaError_t as an integer, since a CPU build lacks that
// type.
void check_launch(int error, const char* kernel);

// Parses "cpu", "cuda", "cuda:1". Throws Error{invalid_argument | unsupported} for a device that is
// not present; the message lists the present ones or the remedy.
at::Device parse_device(const std::string& name);

// Waits until all work queued on the device is done; returns at once on the CPU.
void synchronize(const at::Device& device);

// Total memory of a device in bytes; 0 for the CPU and where it is unknown.
uint64_t device_memory(at::Device device);

// Releases the memory that libtorch caches for a device, pinned memory of the host too; does
// nothing on the CPU.
void release_device_memory(at::Device device);

// The index of "cuda:N", 0 of "cuda", -1 of "cpu"; Error{invalid_argument} for any other name.
int device_index(const std::string& name);

}  // namespace cream
