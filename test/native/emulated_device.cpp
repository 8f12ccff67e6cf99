// Five own ops (allocation, copies) and one boxed fallback. The fallback passes the device's
// tensors to the CPU's kernel as CPU tensors over the same memory, so in-place ops and views need
// no copy, and moves the results back to the device. Mixing CPU and device tensors throws, as on a
// GPU; only 0-dimensional tensors may be on the CPU.
#include "emulated_device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>

#include "test_device.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using at::Tensor;

namespace check {
namespace {

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

// Host memory labelled with the device.
struct EmulatedAllocator : c10::DeviceAllocator {
  uint64_t memory = 0;
  int64_t releases = 0;

  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr host = c10::GetCPUAllocator()->allocate(bytes);
    void* const data = host.get();
    const auto deleter = host.get_deleter();
    return {data, host.release_context(), deleter, kEmulated};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { ++releases; }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override { return {memory, memory}; }
};
EmulatedAllocator allocator;
std::atomic<int64_t> guards = 0;
bool registered = false;

// One device with one synchronous stream.
struct EmulatedGuard : c10::impl::NoOpDeviceGuardImpl<at::kPrivateUse1> {
  at::Device exchangeDevice(at::Device) const override {
    ++guards;
    return kEmulated;
  }
  at::Device getDevice() const override { return kEmulated; }
  c10::Stream getStream(at::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kEmulated);
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kEmulated);
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, EmulatedGuard)

// Queried by autograd before it passes nodes to the device's thread.
struct EmulatedHooks : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return 1; }
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }  // called by manual_seed
};

// A storage over another one's memory, labelled with another device; it keeps the other alive.
c10::Storage shown(const c10::Storage& storage, at::Device device, c10::Allocator* owner) {
  c10::DataPtr data(
      const_cast<void*>(storage.data()), new c10::Storage(storage),
      [](void* kept) { delete static_cast<c10::Storage*>(kept); }, device);
  return {c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(data), owner,
          /*resizable=*/true};
}

Tensor over(c10::Storage storage, c10::DispatchKeySet keys, const Tensor& x) {
  Tensor out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, x.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides(), x.storage_offset());
  return out;
}

// Uses the base's own dispatch keys, which tell whether the base is an inference tensor,
// independent of the current mode.
Tensor view_of(const Tensor& base, const Tensor& x) {
  Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(base.storage()), base.key_set(), x.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides(), x.storage_offset());
  return out;
}

Tensor on_host(const Tensor& x) {
  return over(shown(x.storage(), at::kCPU, c10::GetCPUAllocator()),
              c10::DispatchKeySet(c10::DispatchKey::CPU), x);
}

// The tensors of one call and the CPU tensors passed in their place.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op) {}

  void enter(c10::IValue& value) {
    if (value.isTensor()) {
      value = enter(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& x : value.toTensorVector()) list.push_back(enter(x));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& x : value.toOptionalTensorVector())
        list.push_back(x ? std::optional(enter(*x)) : x);
      value = list;
    } else if (value.isDevice()) {
      value = at::Device(at::kCPU);
    }
  }

  void leave(c10::IValue& value) {
    if (value.isTensor()) {
      value = leave(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& x : value.toTensorVector()) list.push_back(leave(x));
      value = list;
    }
  }

  void check() const {
    TORCH_CHECK(pairs_.empty() || foreign_.empty(), "emulated device: ", op_.operator_name(),
                " mixes a CPU tensor of shape ", foreign_, " with the device's.");
  }

  // The kernel has resized an `out` tensor.
  void follow_sizes() const {
    for (const auto& [device, host] : pairs_) {
      if (device.sizes() == host.sizes() && device.strides() == host.strides()) continue;
      if (host.storage().data() != device.storage().data()) {
        c10::StorageImpl* const storage = device.storage().unsafeGetStorageImpl();
        c10::Storage moved = shown(host.storage(), kEmulated, &allocator);
        storage->set_nbytes(moved.nbytes());
        storage->set_data_ptr_noswap(moved.set_data_ptr({}));
      }
      device.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(),
                                                          host.storage_offset());
    }
  }

 private:
  Tensor enter(const Tensor& x) {
    if (!x.defined()) return x;
    if (!x.is_privateuseone()) {
      if (x.dim() > 0) foreign_ = c10::str(x.sizes());
      return x;
    }
    pairs_.emplace_back(x, on_host(x));
    return pairs_.back().second;
  }

  Tensor leave(const Tensor& x) const {
    if (!x.defined()) return x;
    for (const auto& [device, host] : pairs_) {
      if (x.is_same(host)) return device;
      if (x.storage().is_alias_of(host.storage())) return view_of(device, x);
    }
    return over(shown(x.storage(), kEmulated, &allocator), kKeys, x);
  }

  const c10::OperatorHandle& op_;
  std::vector<std::pair<Tensor, Tensor>> pairs_;
  std::string foreign_;
};

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call(op);
  const size_t arguments = op.schema().arguments().size(), returns = op.schema().returns().size();
  for (size_t i = stack->size() - arguments; i < stack->size(); ++i) call.enter((*stack)[i]);
  call.check();
  op.callBoxed(stack);
  call.follow_sizes();
  for (size_t i = stack->size() - returns; i < stack->size(); ++i) call.leave((*stack)[i]);
}

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, kKeys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                     std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator, kKeys,
                                           c10::dtype_or_default(dtype));
}

// Copies between the devices, in either direction.
Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  const auto host = [](const Tensor& x) { return x.is_privateuseone() ? on_host(x) : x; };
  host(to).copy_(host(from));
  return to;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_copy_from", &copy_from);
}

}  // namespace

// A registered device becomes libtorch's only accelerator, and autograd would then refuse the nodes
// of a GPU.
void register_emulated() {
  if (std::exchange(registered, true)) return;
  at::RegisterPrivateUse1HooksInterface(new EmulatedHooks);
  c10::register_privateuse1_backend("emulated");
  c10::SetAllocator(at::kPrivateUse1, &allocator);
}

Tensor emulated(const Tensor& x) {
  if (!registered) throw Skip("a GPU was named, so the emulated device is not registered");
  return x.to(kEmulated);
}

void require_emulated() {
  if (test_device() != kEmulated)
    throw Skip("only the emulated device can be told how much memory it has, and counts");
}

EmulatedMemory::EmulatedMemory(uint64_t bytes) {
  require_emulated();
  allocator.memory = bytes;
}
EmulatedMemory::~EmulatedMemory() { allocator.memory = 0; }
int64_t emulated_guards() { return guards; }
int64_t emulated_releases() {
  require_emulated();
  return allocator.releases;
}

}  // namespace check
