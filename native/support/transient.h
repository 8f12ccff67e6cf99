// Tensors whose memory comes and goes while other tensors and autograd graphs refer to them: views
// share their storage, and so see the new memory.
#pragma once

#include <c10/core/DeviceGuard.h>

#include "support/torch.h"

namespace cream {

inline bool has_memory(const Tensor& tensor) { return tensor.storage().nbytes() > 0; }

// Returns the memory to the allocator; nothing may read the tensor or its views until they get
// memory again. On a device the memory may be used again by work that is queued behind this call.
inline void release_memory(const Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  storage.set_data_ptr_noswap(at::DataPtr(nullptr, tensor.device()));
  storage.set_nbytes(0);
}

// New memory for a tensor that covers its storage; its values are undefined.
inline void acquire_memory(const Tensor& tensor) {
  // CUDA's allocator takes memory of the current device, which need not be the tensor's.
  const c10::DeviceGuard guard(tensor.device());
  const c10::Storage& storage = tensor.storage();
  const size_t bytes = tensor.nbytes();
  storage.set_data_ptr_noswap(storage.allocator()->allocate(bytes));
  storage.set_nbytes(bytes);
}

}  // namespace cream
