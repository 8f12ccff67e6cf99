// Free lists by size class: eight classes per power of two, so at most an eighth of a block is
// unused. Blocks below kSmallest are left to glibc.
//
// Live and cached blocks together are limited to 17/16 of the peak of live blocks. Beyond that, the
// blocks that were freed first are returned to the system.
//
// A block is a header of kHeader bytes followed by the data, so the deleter needs only the data's
// address. Source of the idea: PyTorch's CUDA caching allocator; measured on CPU in
// pytorch#164741 (mimalloc for large blocks).
#include "support/allocator.h"

#include <c10/core/CPUAllocator.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <unordered_map>

namespace cream {
namespace {

constexpr size_t kSmallest = size_t{64} << 10;
constexpr size_t kHeader = 64;  // keeps the data aligned to 64 bytes, as c10 guarantees
constexpr size_t kHugePage = size_t{2} << 20;

size_t size_class(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes == 0 ? nullptr : take(bytes < kSmallest ? bytes : size_class(bytes));
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* destination, const void* source, std::size_t bytes) const override {
    default_copy_data(destination, source, bytes);
  }

  void release() {
    std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_) {
      for (const Freed& freed : blocks) std::free(freed.block);
    }
    free_.clear();
    cached_ = 0;
    peak_ = live_;
  }

  size_t cached() {
    std::lock_guard lock(mutex_);
    return cached_;
  }

  // Never destroyed: tensors may be freed after all static objects are.
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;
    return *allocator;
  }

 private:
  struct Freed {
    void* block;
    uint64_t turn;  // when it was freed
  };

  void* take(size_t size) {
    void* block = nullptr;
    if (size >= kSmallest) {
      std::lock_guard lock(mutex_);
      live_ += size;
      peak_ = std::max(peak_, live_);
      auto& blocks = free_[size];
      if (blocks.empty()) {
        trim_to_bound();
      } else {
        block = blocks.back().block;
        blocks.pop_back();
        cached_ -= size;
      }
    }
    if (!block) block = make(size);
    if (!block) {
      release();
      block = make(size);
    }
    if (!block) {
      forget(size);
      throw std::bad_alloc();
    }
    return static_cast<std::byte*>(block) + kHeader;
  }

  void forget(size_t size) {
    std::lock_guard lock(mutex_);
    if (size >= kSmallest) live_ -= size;
  }

  // Frees the oldest cached blocks until live and cached bytes are within the bound; live_ includes
  // the block about to be allocated.
  void trim_to_bound() {
    while (cached_ > 0 && live_ + cached_ > peak_ + peak_ / 16) {
      auto oldest = free_.end();
      for (auto of_size = free_.begin(); of_size != free_.end(); ++of_size)
        if (!of_size->second.empty() &&
            (oldest == free_.end() || of_size->second.front().turn < oldest->second.front().turn))
          oldest = of_size;
      std::free(oldest->second.front().block);
      oldest->second.pop_front();
      cached_ -= oldest->first;
    }
  }

  static void* make(size_t size) {
    void* block = nullptr;
    const bool huge = size >= 2 * kHugePage;
    if (posix_memalign(&block, huge ? kHugePage : kHeader, size + kHeader) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (huge) madvise(block, size + kHeader, MADV_HUGEPAGE);  // a hint: failure is harmless
#endif
    *static_cast<size_t*>(block) = size;
    return block;
  }

  static void give_back(void* data) {
    if (!data) return;
    void* block = static_cast<std::byte*>(data) - kHeader;
    const size_t size = *static_cast<size_t*>(block);
    if (size < kSmallest) return std::free(block);
    CachingAllocator& self = instance();
    std::lock_guard lock(self.mutex_);
    self.free_[size].push_back({block, self.turn_++});
    self.live_ -= size;
    self.cached_ += size;
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::deque<Freed>> free_;  // by size; the last freed is taken first
  // In bytes; peak_ is the most live bytes since the last release().
  size_t live_ = 0;
  size_t cached_ = 0;
  size_t peak_ = 0;
  uint64_t turn_ = 0;
};

}  // namespace

void use_caching_allocator() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(&CachingAllocator::instance(), 1); });
}

void release_cached_memory() {
  CachingAllocator::instance().release();
#ifdef __GLIBC__
  malloc_trim(0);  // glibc keeps freed blocks below its mmap threshold otherwise
#endif
}

size_t cached_bytes() { return CachingAllocator::instance().cached(); }

}  // namespace cream
