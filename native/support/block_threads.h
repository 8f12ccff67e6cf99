// support/block.h with one real thread per thread of a block, for race detectors. A missing barrier
// is a data race here, as on a GPU; HostBlock's sequential order would hide it. Used by test/races
// only.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "support/block.h"

namespace cream {

// State shared by the threads of one block. ThreadSanitizer understands the pthread barrier.
class ThreadGroup {
 public:
  explicit ThreadGroup(const Grid& grid)
      : threads(grid.threads),
        shared(static_cast<size_t>(grid.shared_bytes), 0xff),
        slots(static_cast<size_t>(threads) * kSlot) {
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(threads));
  }
  ~ThreadGroup() { pthread_barrier_destroy(&barrier_); }
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  void sync() { pthread_barrier_wait(&barrier_); }

  static constexpr size_t kSlot = 16;  // bytes per thread in reduce()
  const int threads;
  std::vector<unsigned char> shared, slots;

 private:
  pthread_barrier_t barrier_;
};

class ThreadBlock {
 public:
  using Warp = HostWarp;  // computed by the warp's first thread
  ThreadBlock(int64_t index, int thread, ThreadGroup& group)
      : index_(index), thread_(thread), group_(group) {}

  int64_t index() const { return index_; }
  void sync() const { group_.sync(); }
  template <class T>
  T* shared() const {
    return reinterpret_cast<T*>(group_.shared.data());
  }

  template <class F>
  void each(int64_t n, const F& f) const {
    for (int64_t i = thread_; i < n; i += group_.threads) f(i);
  }

  template <class F>
  void each_thread(const F& f) const {
    f(thread_);
  }

  template <class T>
  struct Kept {
    T value;
    T& operator[](int64_t) { return value; }
  };
  template <class T>
  Kept<T> keep(int64_t n, const T& initial) const {
    assert(n <= group_.threads);
    return {initial};
  }

  template <class F>
  void each_warp(const F& f) const {
    if (thread_ % kWarp == 0) f(thread_ / kWarp);
  }
  template <class T>
  Kept<T> keep_warps(const T& initial) const {
    return {initial};
  }
  static void copy(void* to, const void* from) { HostBlock::copy(to, from); }
  void copies() const {}
  template <int N>
  void await() const {}

  // Has DeviceBlock's barriers: one before the threads' values are written, one before they are
  // read.
  template <class T, class F, class Op>
  T reduce(int64_t n, T identity, const F& f, const Op& op) const {
    static_assert(sizeof(T) <= ThreadGroup::kSlot);
    T own = identity;
    each(n, [&](int64_t i) { own = op(own, f(i)); });
    sync();
    std::memcpy(slot(thread_), &own, sizeof own);
    sync();
    std::vector<T> warps(kWarp, identity);
    for (int warp = 0; warp < group_.threads / kWarp; ++warp) {
      std::vector<T> lanes(kWarp, identity);
      for (int lane = 0; lane < kWarp; ++lane)
        std::memcpy(&lanes[lane], slot(warp * kWarp + lane), sizeof(T));
      warps[warp] = HostBlock::butterfly(std::move(lanes), op);
    }
    return HostBlock::butterfly(std::move(warps), op);
  }

 private:
  unsigned char* slot(int thread) const {
    return group_.slots.data() + static_cast<size_t>(thread) * ThreadGroup::kSlot;
  }

  int64_t index_;
  int thread_;
  ThreadGroup& group_;
};

// Blocks run concurrently, up to 1024 threads in total.
template <class Kernel>
void run_on_threads(const Kernel& kernel, const Grid& grid) {
  const int64_t together = std::max<int64_t>(1, 1024 / grid.threads);
  for (int64_t first = 0; first < grid.blocks; first += together) {
    std::vector<std::unique_ptr<ThreadGroup>> groups;
    std::vector<std::thread> threads;
    for (int64_t b = first; b < std::min(grid.blocks, first + together); ++b) {
      ThreadGroup& group = *groups.emplace_back(std::make_unique<ThreadGroup>(grid));
      for (int t = 0; t < grid.threads; ++t)
        threads.emplace_back([&kernel, &group, b, t] {
          ThreadBlock block(b, t, group);
          kernel(block);
        });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace cream
