// Keys and values of past rows. A prompt's block is computed once and shared by its N samples; each
// sample owns a block that grows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

// [layers][2][kv_heads, capacity, head_dim] in one allocation; positions 0 … length are valid. Not
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
  const void* keys_data(int64_t layer) const { return data(layer, 0); }  // until the next grow()
  const void* values_data(int64_t layer) const { return data(layer, 1); }

  // Copies rows [n, kv_heads, head_dim] to positions at … at+n; `length` is the caller's to advance
  // once all layers are in.
  void write(int64_t layer, int64_t at, const Tensor& keys, const Tensor& values);
  // The same for one row, from contiguous memory of the cache's dtype: decoding writes every row in
  // every layer.
  void write_row(int64_t layer, int64_t at, const void* key, const void* value);
  void grow(int64_t capacity);  // keeps what is valid; no-op where it already fits

 private:
  void set_storage(Tensor storage);
  char* data(int64_t layer, int64_t which) const {
    return base_ + layer * layer_bytes_ + which * layer_bytes_ / 2;
  }

  Tensor storage_;  // [layers, 2, kv_heads, capacity, head_dim]
  char* base_ = nullptr;
  int64_t layer_bytes_ = 0, head_bytes_ = 0, row_bytes_ = 0,
          heads_ = 0;  // of storage_; decoding asks for them thousands of times a step
};
using KvBlockPtr = std::shared_ptr<KvBlock>;

}  // namespace cream
