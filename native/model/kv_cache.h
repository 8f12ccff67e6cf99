// The KV cache on the CPU. The block of a prompt is computed once and shared by its N completions;
// each completion owns a block that grows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

// One allocation [layers][2][kv_heads, capacity, head_dim]; positions 0 … length−1 are valid. Not
// thread-safe: one worker owns it.
class KvBlock {
 public:
  KvBlock(const ModelConfig& config, at::ScalarType dtype, int64_t capacity);

  int64_t length = 0;
  int64_t capacity() const { return storage_.size(3); }
  Tensor keys(int64_t layer) const {
    return storage_.select(0, layer).select(0, 0);
  }  // [kv_heads, capacity, head_dim]
  Tensor values(int64_t layer) const { return storage_.select(0, layer).select(0, 1); }
  const void* keys_data(int64_t layer) const { return data(layer, 0); }  // valid until grow()
  // The keys at the start of each head that lie in groups transposed by ops::group_keys().
  int64_t grouped(int64_t layer) const { return grouped_[static_cast<size_t>(layer)]; }
  const void* values_data(int64_t layer) const { return data(layer, 1); }

  // Copies keys and values [n, kv_heads, head_dim] to positions at … at+n−1. The caller advances
  // `length` after all layers are written. Full groups of keys are transposed, and their positions
  // cannot be written again.
  void write(int64_t layer, int64_t at, const Tensor& keys, const Tensor& values);
  // write() of one position, from contiguous memory of the cache's dtype: the decode path, called
  // for every sequence and layer. The position's own group is transposed at the next call only, so
  // that a step that failed can be repeated.
  void write_row(int64_t layer, int64_t at, const void* key, const void* value);
  void grow(int64_t capacity);  // keeps valid positions; no-op if large enough

 private:
  void group(int64_t layer, int64_t written);  // the full groups of the first positions
  void set_storage(Tensor storage);
  char* data(int64_t layer, int64_t which) const {
    return base_ + layer * layer_bytes_ + which * layer_bytes_ / 2;
  }

  bool groups_;                   // whether keys are transposed at all
  std::vector<int64_t> grouped_;  // [layers]
  Tensor storage_;                // [layers, 2, kv_heads, capacity, head_dim]
  char* base_ = nullptr;
  int64_t layer_bytes_ = 0, head_bytes_ = 0, row_bytes_ = 0,
          heads_ = 0;  // strides of storage_, cached: decode reads them thousands of times per step
};
using KvBlockPtr = std::shared_ptr<KvBlock>;

}  // namespace cream
