// The KV cache on a device, in pages of 16 positions: sequences of any length share one allocation
// without gaps, and the full pages of a prompt are shared by its completions. Source: Kwon et al.
// 2023, "PagedAttention".
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "ops/attention/page.h"
#include "support/torch.h"

namespace cream {

// The free pages. Host-side only: all work on a cache is ordered by one stream, so a page may be
// given to the next sequence while the last step of the previous one still runs.
class PagePool {
 public:
  explicit PagePool(int64_t pages) { add(0, pages); }
  void add(int64_t first, int64_t count);
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

 private:
  friend class Pages;
  std::vector<int32_t> free_;
};

// Pages that return to their pool on destruction. Sequences that share pages share this object. The
// pool must outlive it.
class Pages {
 public:
  Pages() = default;
  Pages(PagePool& pool, int64_t count);  // Error{internal} if too few are free
  Pages(Pages&& other) noexcept : pool_(other.pool_), ids_(std::move(other.ids_)) {
    other.ids_.clear();
  }
  Pages& operator=(Pages&& other) noexcept;
  ~Pages() { give_back(); }

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int32_t operator[](int64_t i) const { return ids_[static_cast<size_t>(i)]; }
  // Moves the last page of `other` to the front of these.
  void take_last_of(Pages& other);

 private:
  void give_back();

  PagePool* pool_ = nullptr;
  std::vector<int32_t> ids_;
};

inline int64_t pages_of(int64_t positions) { return (positions + page_size - 1) / page_size; }

class PagedCache {
 public:
  // Throws Error{out_of_memory} that names the size.
  PagedCache(const ModelConfig& config, at::ScalarType dtype, at::Device device, int64_t pages);

  // Adds pages. Pages in use keep their number and content, at another address. Throws
  // Error{out_of_memory} and leaves the cache unchanged if memory is short.
  void grow(int64_t pages);

  const Tensor& storage() const {
    return storage_;
  }  // [layers, pages, 2, kv_heads, page_size, head_dim]
  Tensor layer(int64_t index) const {
    return storage_.select(0, index);
  }  // [pages, 2, kv_heads, page_size, head_dim]
  PagePool& pool() { return pool_; }
  int64_t pages() const { return storage_.size(1); }

 private:
  Tensor storage_;
  PagePool pool_;
};

}  // namespace cream
