#include "model/kv_cache.h"

#include <cstring>

#include "ops/attention/op.h"

namespace cream {

KvBlock::KvBlock(const ModelConfig& config, at::ScalarType dtype, int64_t capacity)
    : groups_(ops::groups_keys(config.num_heads, config.num_kv_heads, config.head_dim, dtype)),
      grouped_(static_cast<size_t>(config.num_layers), 0) {
  set_storage(
      at::empty({config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim}, dtype));
}

void KvBlock::set_storage(Tensor storage) {
  storage_ = std::move(storage);
  const int64_t element = storage_.element_size();
  base_ = static_cast<char*>(storage_.data_ptr());
  layer_bytes_ = storage_.stride(0) * element;
  heads_ = storage_.size(2);
  head_bytes_ = storage_.stride(2) * element;
  row_bytes_ = storage_.stride(3) * element;
}

void KvBlock::write(int64_t layer, int64_t at, const Tensor& keys, const Tensor& values) {
  const int64_t n = keys.size(0);
  this->keys(layer).narrow(1, at, n).copy_(keys.transpose(0, 1));
  this->values(layer).narrow(1, at, n).copy_(values.transpose(0, 1));
  group(layer, at + n);
}

void KvBlock::group(int64_t layer, int64_t written) {
  if (!groups_) return;
  const int64_t d = storage_.size(4);
  int64_t& first = grouped_[static_cast<size_t>(layer)];
  for (; first + key_group <= written; first += key_group)
    for (int64_t h = 0; h < heads_; ++h)
      ops::group_keys(data(layer, 0) + h * head_bytes_ + first * row_bytes_, d,
                      storage_.scalar_type());
}

void KvBlock::write_row(int64_t layer, int64_t at, const void* key, const void* value) {
  group(layer, at);  // not the row's own group: a step that failed writes its row again
  char* k = data(layer, 0) + at * row_bytes_;
  char* v = data(layer, 1) + at * row_bytes_;
  for (int64_t h = 0; h < heads_; ++h) {
    std::memcpy(k + h * head_bytes_, static_cast<const char*>(key) + h * row_bytes_, row_bytes_);
    std::memcpy(v + h * head_bytes_, static_cast<const char*>(value) + h * row_bytes_, row_bytes_);
  }
}

void KvBlock::grow(int64_t capacity) {
  if (capacity <= this->capacity()) return;
  auto shape = storage_.sizes().vec();
  shape[3] = capacity;
  Tensor larger = at::empty(shape, storage_.options());
  if (length > 0) larger.narrow(3, 0, length).copy_(storage_.narrow(3, 0, length));
  set_storage(std::move(larger));
}

}  // namespace cream
