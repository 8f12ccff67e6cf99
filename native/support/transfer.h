// Asynchronous copies to and from a device, through pinned memory that libtorch keeps until the
// copy is done.
#pragma once

#include <cstring>
#include <vector>

#include "support/torch.h"

namespace cream {

template <class T>
Tensor upload(const std::vector<T>& values, at::Device device) {
  const auto options =
      at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value).pinned_memory(device.is_cuda());
  const Tensor host = at::empty({static_cast<int64_t>(values.size())}, options);
  if (!values.empty())
    std::memcpy(host.mutable_data_ptr(), values.data(), values.size() * sizeof(T));
  return host.to(device, host.scalar_type(), /*non_blocking=*/true);
}

// The result is valid once the work queued on the device so far is done (support/stream_mark.h).
inline Tensor download(const Tensor& from) {
  Tensor host = at::empty(
      from.sizes(), at::TensorOptions().dtype(from.scalar_type()).pinned_memory(from.is_cuda()));
  host.copy_(from, /*non_blocking=*/true);
  return host;
}

}  // namespace cream
