// The build without CUDA, whose only device is the CPU; device_cuda.cpp is for the build with CUDA.
#include "support/device.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "support/error.h"

namespace cream {

void* stream_of(const Tensor& x) { return nullptr; }

void check_launch(int error, const char* kernel) {
  if (error != 0)
    throw Error(ErrorCode::internal,
                std::string(kernel) + ": launch error " + std::to_string(error) + ".");
}

const CudaInfo& cuda_info() {
  static const CudaInfo info = [] {
    CudaInfo none;
    none.problem = "this build of cream-lm has no CUDA kernels";
    return none;
  }();
  return info;
}

uint64_t free_device_memory(int index) { return 0; }

at::Device parse_device(const std::string& name) {
  // A device that the program has registered with libtorch: the tests' emulated device.
  if (name == c10::get_privateuse1_backend() && c10::impl::hasDeviceGuardImpl(at::kPrivateUse1))
    return at::Device(at::kPrivateUse1, 0);
  if (device_index(name) < 0) return at::kCPU;
  throw Error(ErrorCode::unsupported,
              "device '" + name + "': " + cuda_info().problem +
                  "; use device 'cpu', or build it with CUDA (docs/cuda.md).");
}

}  // namespace cream
