// Blocks are cut from segments of address space, which take whole huge pages of memory as they are
// first written. A free block is joined with its free neighbours, so memory that small tensors left
// serves a large one, and the other way round. The smallest free block that fits is taken, memory
// that was in use before memory that never was. Blocks below kSmallest are left to glibc.
//
// Memory in use or kept is limited to 17/16 of the peak of the tensors' own. Beyond that, the pages
// of the blocks that were freed first are returned to the system.
//
// A block begins with a header of kHeader bytes, so the deleter needs only the data's address.
// Source of the idea: PyTorch's CUDA caching allocator.
#include "support/allocator.h"

#include <c10/core/CPUAllocator.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "support/parallel.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace cream {
namespace {

constexpr size_t kSmallest = size_t{64} << 10;
constexpr size_t kHeader = 64;  // keeps the data aligned to 64 bytes, as c10 guarantees
constexpr size_t kGranule = size_t{4} << 10;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kTogether = 16;  // huge pages that are populated at once, if so many are free
constexpr size_t kSegment = size_t{256} << 20;  // of address space; a larger block has its own

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

struct Segment {
  std::byte* data;
  size_t size;
  std::vector<bool> written;  // by huge page: it may have memory
};

struct Block {
  std::byte* data;
  size_t size;
  Segment* segment;
  Block* before = nullptr;  // its neighbours in the segment
  Block* after = nullptr;
  bool used = false;
  bool written = false;  // of a free block: most of its pages may have memory
  uint64_t turn = 0;     // of a free block: when it was freed

  // The huge pages that the block covers at least in part, and those that are all its own.
  size_t first_page() const { return (data - segment->data) / kHugePage; }
  size_t end_page() const { return round_up(data + size - segment->data, kHugePage) / kHugePage; }
  size_t first_own() const { return round_up(data - segment->data, kHugePage) / kHugePage; }
  size_t end_own() const { return (data + size - segment->data) / kHugePage; }
};

struct BySize {
  static auto key(const Block* b) { return std::tuple(!b->written, b->size, b->data); }
  bool operator()(const Block* a, const Block* b) const { return key(a) < key(b); }
};
struct ByTurn {
  static auto key(const Block* b) { return std::tuple(b->turn, b->data); }
  bool operator()(const Block* a, const Block* b) const { return key(a) < key(b); }
};

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes == 0 ? nullptr : take(bytes);
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* destination, const void* source, std::size_t bytes) const override {
    default_copy_data(destination, source, bytes);
  }

  void release() {
    std::lock_guard lock(mutex_);
    return_memory(0);
    peak_ = live_;
  }

  size_t cached() {
    std::lock_guard lock(mutex_);
    size_t pages = 0;
    for (const Block* block : freed_)
      pages += written_pages(*block, block->first_own(), block->end_own());
    return pages * kHugePage;
  }

  // Never destroyed: tensors may be freed after all static objects are.
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;
    return *allocator;
  }

 private:
  static void* take(size_t bytes) {
    Block* block = nullptr;
    std::byte* start = nullptr;
    if (bytes < kSmallest) {
      void* small = nullptr;
      if (posix_memalign(&small, kHeader, bytes + kHeader) != 0) {
        instance().release();
        if (posix_memalign(&small, kHeader, bytes + kHeader) != 0) throw std::bad_alloc();
      }
      start = static_cast<std::byte*>(small);
    } else {
      if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
      block = instance().cut(round_up(bytes + kHeader, kGranule));
      start = block->data;
      ASAN_UNPOISON_MEMORY_REGION(start, kHeader + bytes);
    }
    *reinterpret_cast<Block**>(start) = block;
    ASAN_POISON_MEMORY_REGION(start, block ? kHeader : 0);
    return start + kHeader;
  }

  static void give_back(void* data) {
    if (!data) return;
    std::byte* start = static_cast<std::byte*>(data) - kHeader;
    ASAN_UNPOISON_MEMORY_REGION(start, kHeader);
    Block* block = *reinterpret_cast<Block**>(start);
    if (!block) return std::free(start);
    ASAN_POISON_MEMORY_REGION(start, block->size);
    instance().join(block);
  }

  // A block of `size` bytes. Throws std::bad_alloc.
  Block* cut(size_t size) {
    std::lock_guard lock(mutex_);
    const auto find = [&] {
      Block* const found = smallest_of(size);
      return found ? found : new_segment(size);
    };
    Block* block = find();
    if (!block) {
      return_memory(0);
      block = find();
    }
    if (!block) throw std::bad_alloc();
    remove_free(block);
    block->used = true;
    if (block->size > size) {
      auto* rest = new Block{block->data + size, block->size - size, block->segment};
      rest->turn = block->turn;
      rest->before = block;
      rest->after = std::exchange(block->after, rest);
      if (rest->after) rest->after->before = rest;
      block->size = size;
      add_free(rest);
    }
    live_ += size;
    peak_ = std::max(peak_, live_);
    take_pages(*block);
    return block;
  }

  void join(Block* block) {
    std::lock_guard lock(mutex_);
    live_ -= block->size;
    block->used = false;
    block->turn = ++turns_;
    if (Block* before = block->before; before && !before->used) {
      remove_free(before);
      block->data = before->data;
      block->size += before->size;
      block->before = before->before;
      if (block->before) block->before->after = block;
      delete before;
    }
    if (Block* after = block->after; after && !after->used) {
      remove_free(after);
      block->size += after->size;
      block->after = after->after;
      if (block->after) block->after->before = block;
      delete after;
    }
    add_free(block);
  }

  Block* smallest_of(size_t size) {
    Block wanted{nullptr, size, nullptr};
    for (const bool written : {true, false}) {
      wanted.written = written;
      const auto found = free_.lower_bound(&wanted);
      if (found != free_.end() && (*found)->size >= size) return *found;
    }
    return nullptr;
  }

  // A free block of a new segment, of just `size` where no more can be had; or none.
  Block* new_segment(size_t size) {
    for (const size_t wanted : {std::max(size, kSegment), size}) {
      const size_t bytes = round_up(wanted, kHugePage);
      void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapped == MAP_FAILED) continue;
      auto* start = static_cast<std::byte*>(mapped);
      const size_t skipped = -reinterpret_cast<uintptr_t>(start) % kHugePage;
      if (skipped) munmap(start, skipped);
      munmap(start + skipped + bytes, kHugePage - skipped);
      start += skipped;
#ifdef MADV_HUGEPAGE
      madvise(start, bytes, MADV_HUGEPAGE);  // a hint: failure is harmless
#endif
      ASAN_POISON_MEMORY_REGION(start, bytes);
      auto* segment = new Segment{start, bytes, std::vector<bool>(bytes / kHugePage)};
      auto* block = new Block{start, bytes, segment};
      add_free(block);
      return block;
    }
    return nullptr;
  }

  // Notes that a block is about to be written, and first returns as much memory as it takes anew.
  void take_pages(const Block& block) {
    const size_t first = block.first_page(), end = block.end_page();
    const size_t fresh = end - first - written_pages(block, first, end);
    if (fresh == 0) return;
    const size_t bound = peak_ + peak_ / 16;
    return_memory(bound > fresh * kHugePage ? bound - fresh * kHugePage : 0);
    // Free pages behind the block are taken along as far as the bound allows.
    const size_t spare = bound > resident_ ? (bound - resident_) / kHugePage : 0;
    const size_t most = std::max(fresh, std::min(kTogether, spare));
    size_t to = end;
    Block* after = block.after && !block.after->used ? block.after : nullptr;
    if (after) {
      remove_free(after);
      const size_t limit = std::min(after->end_own(), end + most - fresh);
      while (to < limit && !block.segment->written[to]) ++to;
    }
    populate(*block.segment, first, to);
    if (after) add_free(after);
  }

  // Has the pages that were not written cleared by the kernel, with all threads. Otherwise a page
  // is cleared at the first write to it, and threads that fill one tensor together mostly begin on
  // the same page. In a virtual machine whose host took the memory back a page costs about 4 ms.
  void populate(Segment& segment, size_t first, size_t end) {
    std::vector<std::byte*> pages;
    for (size_t page = first; page < end; ++page) {
      if (segment.written[page]) continue;
      segment.written[page] = true;
      resident_ += kHugePage;
      pages.push_back(segment.data + page * kHugePage);
    }
#ifdef MADV_POPULATE_WRITE
    if (pages.size() < 2) return;
    parallel_for(0, pages.size(), 1, [&](int64_t from, int64_t to) {
      // A hint: where it fails, the pages are cleared at the first write.
      for (int64_t i = from; i < to; ++i) madvise(pages[i], kHugePage, MADV_POPULATE_WRITE);
    });
#endif
  }

  // Returns free memory, that which was freed first before other, until at most `wanted` bytes are
  // resident or none is free.
  void return_memory(size_t wanted) {
    while (resident_ > wanted && !freed_.empty()) {
      Block* block = *freed_.begin();
      Segment* segment = block->segment;
      remove_free(block);
      for (size_t end = block->end_own(); end > block->first_own() && resident_ > wanted;) {
        size_t page = end;
        while (page > block->first_own() && segment->written[page - 1] && resident_ > wanted) {
          segment->written[--page] = false;
          resident_ -= kHugePage;
        }
        drop(segment->data + page * kHugePage, (end - page) * kHugePage);
        end = page == end ? end - 1 : page;
      }
      if (block->size == segment->size && written_pages(*block, 0, segment->written.size()) == 0) {
        unmap(segment);
        delete block;
      } else {
        add_free(block);
      }
    }
  }

  static void drop(std::byte* data, size_t bytes) {
    if (bytes == 0) return;
#ifdef __linux__
    madvise(data, bytes, MADV_DONTNEED);
#else
    madvise(data, bytes, MADV_FREE);
#endif
  }

  static void unmap(Segment* segment) {
    ASAN_UNPOISON_MEMORY_REGION(segment->data, segment->size);
    munmap(segment->data, segment->size);
    delete segment;
  }

  static size_t written_pages(const Block& block, size_t first, size_t end) {
    if (first >= end) return 0;
    const auto pages = block.segment->written.begin();
    return std::count(pages + first, pages + end, true);
  }

  // A free block is in free_, and in freed_ where it has pages of its own that may be returned.
  void add_free(Block* block) {
    const size_t first = block->first_page(), end = block->end_page();
    block->written = 2 * written_pages(*block, first, end) >= end - first;
    free_.insert(block);
    if (written_pages(*block, block->first_own(), block->end_own()) > 0) freed_.insert(block);
  }

  void remove_free(Block* block) {
    free_.erase(block);
    freed_.erase(block);
  }

  std::mutex mutex_;
  std::set<Block*, BySize> free_;
  std::set<Block*, ByTurn> freed_;
  // In bytes; peak_ is the most live bytes since the last release().
  size_t live_ = 0;
  size_t resident_ = 0;
  size_t peak_ = 0;
  uint64_t turns_ = 0;
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
