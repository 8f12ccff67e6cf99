// What Linear::packed points at, for the ops that read it.
#pragma once

#include <cstdint>
#include <memory>

#include "ops/linear/op.h"

namespace cream::ops::packed {

struct Weight {
  const void* source = nullptr;  // the weight's data: a weight that changed where it lies is packed
                                 // again where its copy lies
  int64_t out = 0, in = 0;
  Tensor storage;  // panels in the weight's dtype, see kernel.h
  template <class T>
  const T* data() const {
    return static_cast<const T*>(storage.const_data_ptr());
  }
};

// The packed copy where it may be used for x: there is one of x's dtype, x is on the CPU, no
// gradient is wanted and no test forbids it.
const Weight* usable(const Tensor& x, const Linear& w);

}  // namespace cream::ops::packed
