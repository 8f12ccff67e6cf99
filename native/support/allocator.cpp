// Free lists by size class: eight classes for every doubling, so at most an eighth of a block is unused. Blocks below kSmallest are
// glibc's business: it is good at those. The lists together hold at most kLimit bytes.
//
// A block is a header of kHeader bytes and the data behind it, so that the deleter needs nothing but the data's address.
// Source of the idea: PyTorch's CUDA caching allocator; measured on CPU in pytorch#164741 (mimalloc for large blocks).
#include "support/allocator.h"

#include <c10/core/CPUAllocator.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace cream {
namespace {

constexpr size_t kSmallest = size_t{64} << 10;
constexpr size_t kLimit = size_t{1} << 30;
constexpr size_t kHeader = 64;  // keeps the data on a cache line, as c10 promises
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
      for (void* block : blocks) std::free(block);
    }
    free_.clear();
    cached_ = 0;
  }

  size_t cached() {
    std::lock_guard lock(mutex_);
    return cached_;
  }

  // Lives for the process: tensors may be freed after every static object is gone.
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;
    return *allocator;
  }

 private:
  void* take(size_t size) {
    if (size >= kSmallest) {
      std::lock_guard lock(mutex_);
      auto& blocks = free_[size];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        cached_ -= size;
        return static_cast<std::byte*>(block) + kHeader;
      }
    }
    void* block = make(size);
    if (!block) {
      release();
      block = make(size);
    }
    if (!block) throw std::bad_alloc();
    return static_cast<std::byte*>(block) + kHeader;
  }

  static void* make(size_t size) {
    void* block = nullptr;
    const bool huge = size >= 2 * kHugePage;
    if (posix_memalign(&block, huge ? kHugePage : kHeader, size + kHeader) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (huge) madvise(block, size + kHeader, MADV_HUGEPAGE);  // advice: may be refused
#endif
    *static_cast<size_t*>(block) = size;
    return block;
  }

  static void give_back(void* data) {
    if (!data) return;
    void* block = static_cast<std::byte*>(data) - kHeader;
    const size_t size = *static_cast<size_t*>(block);
    if (size >= kSmallest) {
      CachingAllocator& self = instance();
      std::lock_guard lock(self.mutex_);
      if (self.cached_ + size <= kLimit) {
        self.free_[size].push_back(block);
        self.cached_ += size;
        return;
      }
    }
    std::free(block);
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t cached_ = 0;
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
