#include "model/paged_cache.h"

#include "support/error.h"

namespace cream {

void PagePool::add(int64_t first, int64_t count) {
  for (int64_t page = first + count; page > first; --page)
    free_.push_back(static_cast<int32_t>(page - 1));
}

Pages::Pages(PagePool& pool, int64_t count) : pool_(&pool) {
  if (count > pool.free())
    throw Error(ErrorCode::internal, "The cache has " + std::to_string(pool.free()) +
                                         " free pages where " + std::to_string(count) +
                                         " were taken.");
  for (int64_t i = 0; i < count; ++i) {
    ids_.push_back(pool.free_.back());
    pool.free_.pop_back();
  }
}

Pages& Pages::operator=(Pages&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  pool_ = other.pool_;
  ids_ = std::move(other.ids_);
  other.ids_.clear();
  return *this;
}

void Pages::take_last_of(Pages& other) {
  pool_ = other.pool_;
  ids_.insert(ids_.begin(), other.ids_.back());
  other.ids_.pop_back();
}

void Pages::give_back() {
  if (pool_) pool_->free_.insert(pool_->free_.end(), ids_.rbegin(), ids_.rend());
  ids_.clear();
}

// shape: [layers, pages, 2, kv_heads, page_size, head_dim]
static Tensor allocate(const std::array<int64_t, 6>& shape, const at::TensorOptions& options) {
  try {
    return at::empty(shape, options);
  } catch (const c10::OutOfMemoryError&) {
    const double bytes = static_cast<double>(c10::multiply_integers(shape)) *
                         static_cast<double>(options.dtype().itemsize());
    throw Error(ErrorCode::out_of_memory,
                "[generate] the key/value cache of " + std::to_string(shape[1]) + " pages takes " +
                    std::to_string(static_cast<int64_t>(bytes / (1 << 20))) +
                    " MiB, which the device does not have: lower max_num_seqs or max_new_tokens.");
  }
}

PagedCache::PagedCache(const ModelConfig& config, at::ScalarType dtype, at::Device device,
                       int64_t pages)
    : storage_(
          allocate({config.num_layers, pages, 2, config.num_kv_heads, page_size, config.head_dim},
                   at::TensorOptions(device).dtype(dtype))),
      pool_(pages) {}

void PagedCache::grow(int64_t pages) {
  const int64_t before = this->pages();
  const Tensor larger =
      allocate({storage_.size(0), pages, 2, storage_.size(3), page_size, storage_.size(5)},
               storage_.options());
  larger.narrow(1, 0, before).copy_(storage_);
  storage_ = larger;
  pool_.add(before, pages - before);
}

}  // namespace cream
