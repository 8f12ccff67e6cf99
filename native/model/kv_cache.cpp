#include "model/kv_cache.h"

#include <cstring>

namespace cream {

KvBlock::KvBlock(const ModelConfig& config, at::ScalarType dtype, int64_t capacity)
    : storage_(at::empty({config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim}, dtype)) {}

char* KvBlock::data(int64_t layer, int64_t which) const {
  const int64_t offset = layer * storage_.stride(0) + which * storage_.stride(1);
  return static_cast<char*>(storage_.data_ptr()) + offset * storage_.element_size();
}

void KvBlock::write(int64_t layer, int64_t at, const Tensor& keys, const Tensor& values) {
  const int64_t n = keys.size(0);
  this->keys(layer).narrow(1, at, n).copy_(keys.transpose(0, 1));
  this->values(layer).narrow(1, at, n).copy_(values.transpose(0, 1));
}

void KvBlock::write_row(int64_t layer, int64_t at, const void* key, const void* value) {
  const size_t row = storage_.size(4) * storage_.element_size(), head = row * storage_.size(3);  // bytes
  char* k = data(layer, 0) + at * row;
  char* v = data(layer, 1) + at * row;
  for (int64_t h = 0; h < storage_.size(2); ++h) {
    std::memcpy(k + h * head, static_cast<const char*>(key) + h * row, row);
    std::memcpy(v + h * head, static_cast<const char*>(value) + h * row, row);
  }
}

void KvBlock::grow(int64_t capacity) {
  if (capacity <= this->capacity()) return;
  auto shape = storage_.sizes().vec();
  shape[3] = capacity;
  Tensor larger = at::empty(shape, storage_.options());
  if (length > 0) larger.narrow(3, 0, length).copy_(storage_.narrow(3, 0, length));
  storage_ = larger;
}

}  // namespace cream
