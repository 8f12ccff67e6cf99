// A build without CUDA: one device, the CPU.
#include "support/device.h"

#include "support/error.h"

namespace cream {

void* stream_of(const Tensor& x) { return nullptr; }

void check_launch(int error, const char* kernel) {
  if (error != 0) throw Error(ErrorCode::internal, std::string(kernel) + ": launch error " + std::to_string(error) + ".");
}

const CudaInfo& cuda_info() {
  static const CudaInfo info{.problem = "this build of cream-lm has no CUDA kernels"};
  return info;
}

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const bool cuda = name == "cuda" || (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 && name.find_first_not_of("0123456789", 5) == std::string::npos);
  if (cuda) throw Error(ErrorCode::unsupported, "device '" + name + "': " + cuda_info().problem + "; use device 'cpu', or build it with CUDA (docs/cuda.md).");
  throw Error(ErrorCode::invalid_argument, "device '" + name + "' is none of 'cpu', 'cuda' and 'cuda:N'.");
}

}  // namespace cream
