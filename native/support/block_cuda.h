// The CUDA implementation of support/block.h, and the launch. Included by *.cu only; no torch
// header. Compiled as C++, the same *.cu runs its grid on the CPU in host memory and ignores the
// stream.
#pragma once

#include <array>
#include <atomic>
#include "support/block.h"
#ifdef CREAM_BLOCK_THREADS
#include "support/block_threads.h"
#endif

namespace cream {

// Most threads per block of a kernel. nvcc limits the registers per thread accordingly; otherwise
// the launch could fail.
template <class Kernel>
constexpr int most_threads() {
  if constexpr (requires { Kernel::most_threads; })
    return Kernel::most_threads;
  else
    return 1024;
}

#ifndef __CUDACC__
template <class Kernel>
int launch(const Kernel& kernel, const Grid& grid, void* stream) {
  assert(grid.threads % kWarp == 0 && grid.threads <= most_threads<Kernel>());
#ifdef CREAM_BLOCK_THREADS
  run_on_threads(kernel, grid);
#else
  run_on_host(kernel, grid);
#endif
  return 0;
}

template <class Kernel>
int32_t resident_blocks(int, int64_t) {
  return 7;  // more works than blocks in the tests
}
#else
}  // namespace cream

#include "support/warp_cuda.h"

namespace cream {

// HostBlock's counterpart is a vector; here each thread holds its own value.
template <class T>
struct Kept {
  T value;
  __device__ T& operator[](int64_t) { return value; }
};

class DeviceBlock {
 public:
  using Warp = DeviceWarp;
  __device__ int64_t index() const { return blockIdx.x; }
  __device__ void sync() const { __syncthreads(); }
  template <class T>
  __device__ T* shared() const {
    extern __shared__ __align__(16) unsigned char bytes[];
    return reinterpret_cast<T*>(bytes);
  }

  template <class F>
  __device__ void each(int64_t n, const F& f) const {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) f(i);
  }

  template <class F>
  __device__ void each_thread(const F& f) const {
    f(static_cast<int>(threadIdx.x));
  }

  template <class T>
  __device__ Kept<T> keep(int64_t n, const T& initial) const {
    return {initial};
  }

  template <class F>
  __device__ void each_warp(const F& f) const {
    f(static_cast<int>(threadIdx.x) / kWarp);
  }
  template <class T>
  __device__ Kept<T> keep_warps(const T& initial) const {
    return {initial};
  }

  __device__ static void copy(void* to, const void* from) {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    if (from == nullptr)
      *static_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    else
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
  }
  __device__ void copies() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int N>
  __device__ void await() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
  }

  template <class T, class F, class Op>
  __device__ T reduce(int64_t n, T identity, const F& f, const Op& op) const {
    __shared__ T warps[kWarp];
    T x = identity;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) x = op(x, f(i));
    x = butterfly(x, op);
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    __syncthreads();  // every thread has read the previous reduction's results
    if (lane == 0) warps[warp] = x;
    __syncthreads();
    return butterfly(lane < static_cast<int>(blockDim.x) / kWarp ? warps[lane] : identity, op);
  }

 private:
  template <class T, class Op>
  __device__ static T butterfly(T x, const Op& op) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) x = op(x, other_lane(x, offset));
    return x;
  }

  // Shuffles any plain struct word by word.
  template <class T>
  __device__ static T other_lane(const T& x, int offset) {
    static_assert(sizeof(T) % 4 == 0, "a lane's value is shuffled in 32-bit words");
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &x, sizeof(T));
    for (uint32_t& word : words) word = __shfl_xor_sync(0xffffffffu, word, offset);
    T out;
    memcpy(&out, words, sizeof(T));
    return out;
  }
};

template <class Kernel>
__global__ void __launch_bounds__(most_threads<Kernel>()) run_block(const Kernel kernel) {
  DeviceBlock block;
  kernel(block);
}

// A number per device and kernel, 0 at first. The driver is asked for it, or told it, once: a step
// of one row is short, and a launch that is captured calls nothing else.
using PerDevice = std::array<std::atomic<int32_t>, 64>;
inline std::atomic<int32_t>& of_this_device(PerDevice& values) {
  int device = 0;
  cudaGetDevice(&device);
  return values[static_cast<size_t>(device) % values.size()];
}

// The blocks that the GPU runs at once, of kernels that divide their work among so many. A kernel
// has one number of threads and bytes.
template <class Kernel>
int32_t resident_blocks(int threads, int64_t shared_bytes) {
  static PerDevice values{};
  std::atomic<int32_t>& known = of_this_device(values);
  if (const int32_t found = known.load()) return found;
  int device = 0, processors = 0, blocks = 0;
  cudaGetDevice(&device);
  cudaFuncSetAttribute(run_block<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(shared_bytes));
  cudaFuncSetAttribute(run_block<Kernel>, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, run_block<Kernel>, threads,
                                                static_cast<size_t>(shared_bytes));
  const int32_t all = processors * blocks > 0 ? processors * blocks : 1;
  known = all;
  return all;
}

// `stream`: a cudaStream_t. Returns 0 or the CUDA error number of the launch.
template <class Kernel>
int launch(const Kernel& kernel, const Grid& grid, void* stream) {
  if (grid.blocks == 0) return 0;
  if (grid.blocks > 0x7fffffff) return static_cast<int>(cudaErrorInvalidConfiguration);
  // Up to 48 KB need no attribute; that includes the static shared memory of reduce().
  if (grid.shared_bytes > 40 << 10) {
    static PerDevice values{};
    std::atomic<int32_t>& allowed = of_this_device(values);
    if (const auto bytes = static_cast<int32_t>(grid.shared_bytes); allowed.load() < bytes) {
      const cudaError_t error = cudaFuncSetAttribute(
          run_block<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
      if (error != cudaSuccess) return static_cast<int>(error);
      allowed = bytes;
    }
  }
  run_block<<<static_cast<unsigned>(grid.blocks), grid.threads,
              static_cast<size_t>(grid.shared_bytes), static_cast<cudaStream_t>(stream)>>>(kernel);
  return static_cast<int>(cudaGetLastError());
}

#endif

}  // namespace cream
