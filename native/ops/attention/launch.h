// Helpers of the launchers of attention and of its gradient.
#pragma once

#include "ops/attention/kernel.h"
#include "ops/launch.h"

namespace cream::ops {

inline bool head_dim_fits(int64_t d) { return d % 16 == 0 && d <= attend::most_head_dim; }

// This thread's scratch memory, 64-byte aligned, valid until its next call. It is kept, so a decode
// step allocates nothing.
inline float* scratch(int64_t floats) {
  static thread_local std::vector<float> buffer;
  if (static_cast<int64_t>(buffer.size()) < floats + 16) buffer.resize(floats + 16);
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) &
                                  ~uintptr_t{63});
}

// Heads contiguous within a row; rows may be strided (a slice of the joined projection).
inline Tensor by_rows(const Tensor& x) {
  return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
}

}  // namespace cream::ops
