// The sampling parameters of a row of logits, and the order of its tokens.
#pragma once

#include <cmath>
#include <cstdint>

#include "support/host_device.h"

namespace cream::ops {

struct SampleRow {
  double temperature, top_p, u;  // temperature 0: greedy
  int64_t top_k;                 // 0: all
  int32_t ban_first, ban_count;  // of `banned`

  CREAM_HOST_DEVICE bool allows(const int32_t* banned, int64_t token) const {
    for (int32_t b = 0; b < ban_count; ++b)
      if (banned[ban_first + b] == token) return false;
    return true;
  }
};

// Orders keys like floats, with −0 equal to 0; −inf is the smallest. NaN must not be passed.
CREAM_HOST_DEVICE inline uint32_t order_key(float x) {
  x += 0.0f;
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
CREAM_HOST_DEVICE inline float logit_of(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Returns the value before the addition.
CREAM_HOST_DEVICE inline uint64_t add_atomically(uint64_t* to, uint64_t value) {
#ifdef __CUDA_ARCH__
  return atomicAdd(reinterpret_cast<unsigned long long*>(to),
                   static_cast<unsigned long long>(value));
#else
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
#endif
}
CREAM_HOST_DEVICE inline uint32_t add_atomically(uint32_t* to, uint32_t value) {
#ifdef __CUDA_ARCH__
  return atomicAdd(to, value);
#else
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
#endif
}

}  // namespace cream::ops
