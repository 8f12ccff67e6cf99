// Helpers for code that runs on CPU and GPU: nvcc's function attributes, bf16 as 16 bits, and small
// vectors that are loaded and stored at once.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define CREAM_HOST_DEVICE __host__ __device__
#define CREAM_UNROLL _Pragma("unroll")
#else
#define CREAM_HOST_DEVICE
#define CREAM_UNROLL
#endif

namespace cream {

// Kernels use uint16_t for bf16 and float for fp32.
CREAM_HOST_DEVICE inline float widen(float x) { return x; }
CREAM_HOST_DEVICE inline float widen(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

template <class T>
CREAM_HOST_DEVICE T narrow(float x);
template <>
CREAM_HOST_DEVICE inline float narrow<float>(float x) {
  return x;
}
// Round to nearest even; NaN stays NaN.
template <>
CREAM_HOST_DEVICE inline uint16_t narrow<uint16_t>(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// N values loaded or stored at once: 16 bytes for N = 8 in bf16.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T x[N];
};
template <int N, class T>
CREAM_HOST_DEVICE Vec<T, N> load_vec(const T* from) {
  return *reinterpret_cast<const Vec<T, N>*>(from);
}
template <int N, class T>
CREAM_HOST_DEVICE void store_vec(T* to, const Vec<T, N>& v) {
  *reinterpret_cast<Vec<T, N>*>(to) = v;
}

}  // namespace cream
