// Information on CUDA and its GPUs, read without creating a context. Plain structs without torch
// headers, so that native/binding can include it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cream {

struct GpuInfo {
  int index = 0;
  std::string name;          // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  uint64_t memory_bytes = 0;
};

struct CudaInfo {
  bool built = false;         // nvcc has compiled the kernels of *.cu into the addon
  std::string toolkit;        // CUDA toolkit version, "13.0"; empty where built is false
  std::string architectures;  // targets of the kernels, "sm_80, sm_90, PTX 9.0"
  // Why no GPU can be used: one clause without a full stop; empty where one can be.
  std::string problem;
  std::vector<GpuInfo> gpus;  // usable GPUs
};

// Read once; creates no context on any GPU.
const CudaInfo& cuda_info();

// Free bytes of a GPU of cuda_info(), by its index, as the driver reports now. Creates a context on
// it, which takes a few hundred MB.
uint64_t free_device_memory(int index);

}  // namespace cream
