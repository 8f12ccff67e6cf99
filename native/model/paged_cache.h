// Keys and values of past rows in pages of 16 positions, on a device: sequences of any length share
// one allocation without gaps, and the full pages of a prompt belong to all of its samples. Source:
// Kwon et al. 2023, "PagedAttention".
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "ops/attention/page.h"
#include "support/torch.h"

namespace cream {

// Which pages are free. Host-side only: as all work on a cache is in one stream's order, a page may
// be given to the next sequence while the last step of the previous one still runs.
class PagePool {
 public:
  explicit PagePool(int64_t pages);
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

 private:
  friend class Pages;
  std::vector<int32_t> free_;
};

// Pages that return to their pool with their holder; who shares pages shares the holder. The pool
// outlives it.
class Pages {
 public:
  Pages() = default;
  Pages(PagePool& pool, int64_t count);  // the pool has that many
  Pages(Pages&& other) noexcept : pool_(other.pool_), ids_(std::move(other.ids_)) {
    other.ids_.clear();
  }
  Pages& operator=(Pages&& other) noexcept;
  ~Pages() { give_back(); }

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int32_t operator[](int64_t i) const { return ids_[static_cast<size_t>(i)]; }
  // The last page of `other` becomes the first of these.
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
