// What can be known of CUDA without using it: plain structs, no torch header, for native/binding
// too.
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
  bool built = false;         // the addon has the kernels of *.cu, compiled by nvcc
  std::string toolkit;        // its version, "13.0"; empty where built is false
  std::string architectures;  // what the kernels were compiled for, "sm_80, sm_90, PTX 9.0"
  std::string
      problem;  // why no GPU can be used, one clause without a full stop; empty where one can
  std::vector<GpuInfo> gpus;  // those that can
};

// Asked once, without a context on any GPU.
const CudaInfo& cuda_info();

// Free memory of a GPU of cuda_info(), by its index, as the driver tells now. Opens a context on
// it, which takes some hundred MB.
uint64_t free_device_memory(int index);

}  // namespace cream
