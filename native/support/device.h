// Where tensors live, for code that sees no CUDA header. A build without CUDA has the same launchers and kernels, the latter compiled
// as C++ and played by the CPU (support/block.h): tests put tensors on a device of their own (PrivateUse1, its memory the host's)
// and so run all that a GPU would run but the launch itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/torch.h"

namespace cream {

// Whether the kernels of *.cu serve this tensor.
inline bool on_device(const Tensor& x) { return x.is_cuda() || x.is_privateuseone(); }

// The cudaStream_t that work on this tensor goes to: the current one of its device. Null where the CPU plays the kernels.
void* stream_of(const Tensor& x);

// Throws Error{internal}, or {out_of_memory}, that names the kernel where a launcher of *.cu returned a CUDA error number.
void check_launch(int error, const char* kernel);

struct GpuInfo {
  int index = 0;
  std::string name;                        // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;                // compute capability
  int multiprocessors = 0;
  uint64_t memory_bytes = 0, free_bytes = 0;
};

struct CudaInfo {
  bool built = false;              // the addon has the kernels of *.cu, compiled by nvcc
  std::string toolkit;             // its version, "13.0"; empty where built is false
  std::string architectures;       // what the kernels were compiled for, "sm_80, sm_90, PTX 9.0"
  std::string problem;             // why no GPU can be used, one sentence; empty where one can
  std::vector<GpuInfo> gpus;
};
const CudaInfo& cuda_info();  // asked once

// "cpu", "cuda", "cuda:1" → a device that is there; else Error{invalid_argument | unsupported} that says what is and what to do.
at::Device parse_device(const std::string& name);

}  // namespace cream
