// A block of threads. A kernel is a struct with `operator()(Block&)`, written once against the
// members below. CUDA runs it with real threads (DeviceBlock, support/block_cuda.h); on the CPU one
// thread loops over all of them (HostBlock). So tests run a GPU's code, launch grid included, on a
// CPU.
//
// - index(): index of the block in the grid.
// - each(n, f): f(i) for i in 0 … n − 1; thread t takes t, t + threads, …, in no guaranteed order.
// - each_thread(f): f(t) for each thread t of the block.
// - reduce(n, identity, f, op): op over f(i) for i in 0 … n − 1, in the same tree on CPU and GPU:
//   the results are equal bit for bit where those of f and op are.
// - keep<T>(n, initial): one T per index of each(n, …), n ≤ threads, kept in registers from one
//   each() to the next.
// - each_warp(f): f(w) for each warp w of the block. keep_warps(initial): one value per warp, as
//   keep(). Warp: the type whose functions a whole warp computes (support/warp.h).
// - copy(to, from): 16 bytes of device memory into shared memory; `from` null: zeros. They are
//   there after copies() has ended the group, await<N>() (all groups but the last N) and sync().
// - shared<T>(): the block's shared memory; the launch sets its size.
// - sync(): barrier; all threads then see the earlier writes.
//
// Code outside each() and reduce() runs in every thread with equal values and must not write.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "support/warp.h"

namespace cream {

inline constexpr int kWarp = 32;

struct Sum {
  template <class T>
  CREAM_HOST_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  CREAM_HOST_DEVICE T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Min {
  template <class T>
  CREAM_HOST_DEVICE T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

class HostBlock {
 public:
  using Warp = HostWarp;
  HostBlock(int64_t index, int threads, void* shared)
      : index_(index), threads_(threads), shared_(shared) {}

  int64_t index() const { return index_; }
  void sync() const {}
  template <class T>
  T* shared() const {
    return static_cast<T*>(shared_);
  }

  template <class F>
  void each(int64_t n, const F& f) const {
    for (int64_t i = 0; i < n; ++i) f(i);
  }

  template <class F>
  void each_thread(const F& f) const {
    for (int thread = 0; thread < threads_; ++thread) f(thread);
  }

  template <class T>
  std::vector<T> keep(int64_t n, const T& initial) const {
    assert(n <= threads_);
    return std::vector<T>(static_cast<size_t>(n), initial);
  }

  template <class F>
  void each_warp(const F& f) const {
    for (int warp = 0; warp < threads_ / kWarp; ++warp) f(warp);
  }
  template <class T>
  std::vector<T> keep_warps(const T& initial) const {
    return std::vector<T>(static_cast<size_t>(threads_ / kWarp), initial);
  }

  static void copy(void* to, const void* from) {
    if (from == nullptr)
      std::memset(to, 0, 16);
    else
      std::memcpy(to, from, 16);
  }
  void copies() const {}
  template <int N>
  void await() const {}

  template <class T, class F, class Op>
  T reduce(int64_t n, T identity, const F& f, const Op& op) const {
    std::vector<T> warps(kWarp, identity);
    for (int warp = 0; warp < threads_ / kWarp; ++warp) {
      std::vector<T> lanes(kWarp, identity);
      for (int lane = 0; lane < kWarp; ++lane)
        for (int64_t i = warp * kWarp + lane; i < n; i += threads_)
          lanes[lane] = op(lanes[lane], f(i));
      warps[warp] = butterfly(std::move(lanes), op);
    }
    return butterfly(std::move(warps), op);
  }

  template <class T, class Op>
  static T butterfly(std::vector<T> lanes, const Op& op) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const std::vector<T> before = lanes;
      for (int lane = 0; lane < kWarp; ++lane)
        lanes[lane] = op(before[lane], before[lane ^ offset]);
    }
    return lanes[0];
  }

 private:
  int64_t index_;
  int threads_;
  void* shared_;
};

// How a kernel is launched. threads: a multiple of 32, at most 1024.
struct Grid {
  int64_t blocks;
  int threads;
  int64_t shared_bytes = 0;
};

// Threads for n work items per block: n rounded up to whole warps, at most 1024.
inline int threads_for(int64_t n) {
  return n >= 1024 ? 1024 : n <= kWarp ? kWarp : static_cast<int>((n + kWarp - 1) / kWarp * kWarp);
}

// Whether rows of `width` values at these addresses can be read as 16-byte vectors of N values;
// null addresses are ignored.
template <int N>
bool fits_vectors(int64_t width, std::initializer_list<const void*> addresses) {
  for (const void* address : addresses)
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0) return false;
  return width % N == 0;
}

template <class Kernel>
void run_on_host(const Kernel& kernel, const Grid& grid) {
  // Shared memory is NaN-poisoned, so uninitialised reads fail.
  std::vector<uint64_t> shared(static_cast<size_t>(grid.shared_bytes + 7) / 8, ~uint64_t{0});
  for (int64_t b = 0; b < grid.blocks; ++b) {
    HostBlock block(b, grid.threads, shared.data());
    kernel(block);
  }
}

}  // namespace cream
