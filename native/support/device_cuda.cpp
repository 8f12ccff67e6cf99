// The build with CUDA: streams, error codes and GPUs through libtorch's own CUDA runtime. A missing
// GPU or driver is a valid state: nothing throws until a device is requested by name.
#include "support/device.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "support/error.h"

namespace cream {

namespace {

constexpr int kOldestMajor =
    8;  // bf16 in the tensor cores, and the oldest architecture that CMakeLists.txt compiles for

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// The error of cudaGetDeviceCount as one clause, with a remedy where one is known.
std::string problem_of(cudaError_t error) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (driver == 0) return "no NVIDIA driver was found (libcuda.so.1 is missing)";
  if (error == cudaErrorInsufficientDriver || error == cudaErrorSystemDriverMismatch)
    return "the NVIDIA driver is too old: it knows CUDA " + version(driver) +
           " and this build needs " + version(CUDART_VERSION) + "; update the driver";
  if (error == cudaErrorNoDevice)
    return "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)";
  return std::string("the NVIDIA driver does not answer: ") + cudaGetErrorString(error) + " (" +
         cudaGetErrorName(error) + ")";
}

CudaInfo ask() {
  CudaInfo info;
  info.built = true;
  info.toolkit = version(CUDART_VERSION);
  info.architectures = CREAM_CUDA_ARCHITECTURES;
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    cudaGetLastError();  // clears the error, which ATen would report otherwise
    info.problem = problem_of(error);
    return info;
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, index);
        error != cudaSuccess) {
      cudaGetLastError();
      info.problem =
          "GPU " + std::to_string(index) + " does not answer: " + cudaGetErrorString(error);
    } else if (properties.major < kOldestMajor) {
      info.problem = std::string("GPU ") + std::to_string(index) + " (" + properties.name +
                     ") has compute capability " + std::to_string(properties.major) + "." +
                     std::to_string(properties.minor) +
                     ", and 8.0 (Ampere) is the least that works";
    } else {
      info.gpus.push_back({index, properties.name, properties.major, properties.minor,
                           properties.multiProcessorCount, properties.totalGlobalMem});
    }
  }
  if (count == 0) info.problem = "the NVIDIA driver sees no GPU";
  if (!info.gpus.empty()) info.problem.clear();
  return info;
}

std::string names(const std::vector<GpuInfo>& gpus) {
  std::string out;
  for (const GpuInfo& gpu : gpus)
    out +=
        (out.empty() ? "'cuda:" : ", 'cuda:") + std::to_string(gpu.index) + "' (" + gpu.name + ")";
  return out;
}

// Called whenever a GPU is named, so that the same input gives the same bits. ATen's CUDA ops sum
// in a fixed order only on request; cuBLAS does so with a fixed workspace and without split bf16
// sums. ATen's filling of new memory is disabled: nothing reads uninitialised memory, and filling
// would cost one pass over it.
void make_deterministic() {
  const char* const workspace = std::getenv("CUBLAS_WORKSPACE_CONFIG");
  if (workspace == nullptr || std::string(workspace) != ":16:8")
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);  // the two that ATen takes
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowTF32CuBLAS(false);  // TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which images set
}

}  // namespace

void* stream_of(const Tensor& x) {
  return x.is_cuda() ? c10::cuda::getCurrentCUDAStream(x.get_device()).stream() : nullptr;
}

void check_launch(int error, const char* kernel) {
  if (error == cudaSuccess) return;
  const auto code = static_cast<cudaError_t>(error);
  const std::string what =
      std::string(kernel) + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ").";
  throw Error(code == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal,
              what);
}

const CudaInfo& cuda_info() {
  static const CudaInfo info = ask();
  return info;
}

uint64_t free_device_memory(int index) {
  const at::Device device = parse_device("cuda:" + std::to_string(index));
  const c10::cuda::CUDAGuard guard(device);
  size_t free = 0, total = 0;
  check_launch(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

at::Device parse_device(const std::string& name) {
  const int index = device_index(name);
  if (index < 0) return at::kCPU;
  const CudaInfo& info = cuda_info();
  if (info.gpus.empty())
    throw Error(ErrorCode::unsupported,
                "device '" + name + "': " + info.problem + "; use device 'cpu' on this machine.");
  for (const GpuInfo& gpu : info.gpus)
    if (gpu.index == index) {
      make_deterministic();
      return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    }
  throw Error(ErrorCode::invalid_argument,
              "device '" + name + "' is not there; this machine has " + names(info.gpus) + ".");
}

}  // namespace cream
