// Device functions common to builds with and without CUDA.
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "support/device.h"
#include "support/error.h"

namespace cream {

void synchronize(const at::Device& device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

uint64_t device_memory(at::Device device) {
  return device.is_cpu()
             ? 0
             : c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).second;
}

void release_device_memory(at::Device device) {
  if (device.is_cpu()) return;
  c10::getDeviceAllocator(device.type())->emptyCache();
  if (device.is_cuda()) at::getHostAllocator(device.type())->empty_cache();
}

int device_index(const std::string& name) {
  if (name == "cpu") return -1;
  if (name == "cuda") return 0;
  const bool numbered = name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
                        name.find_first_not_of("0123456789", 5) == std::string::npos;
  if (!numbered)
    throw Error(ErrorCode::invalid_argument,
                "device '" + name + "' is none of 'cpu', 'cuda' and 'cuda:N'.");
  return std::stoi(name.substr(5));
}

}  // namespace cream
