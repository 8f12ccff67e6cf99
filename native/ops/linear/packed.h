// The type behind Linear::packed, for the ops that read it.
#pragma once

#include <cstdint>
#include <memory>

#include "ops/linear/op.h"

namespace cream::ops::packed {

struct Weight {
  const void* source =
      nullptr;  // the weight's data; a weight changed in place is repacked in place
  int64_t out = 0, in = 0;
  Tensor storage;  // panels in the weight's dtype, see kernel.h
  template <class T>
  const T* data() const {
    return static_cast<const T*>(storage.const_data_ptr());
  }
};

// The packed copy if it may be used for x: same dtype, x on the CPU, no gradient required, and not
// disabled by a test; else null.
const Weight* usable(const Tensor& x, const Linear& w);

}  // namespace cream::ops::packed
