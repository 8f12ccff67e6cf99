// Keys and values of past rows. A prompt's block is computed once and shared by its N samples; each sample owns a block that grows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

// [layers][2][kv_heads, capacity, head_dim] in one allocation; positions 0 … length are valid.
class KvBlock {
 public:
  KvBlock(const ModelConfig& config, at::ScalarType dtype, int64_t capacity);

  int64_t length = 0;
  int64_t capacity() const { return capacity_; }
  Tensor keys(int64_t layer) const { return storage_.select(0, layer).select(0, 0); }    // [kv_heads, capacity, head_dim]
  Tensor values(int64_t layer) const { return storage_.select(0, layer).select(0, 1); }
  const void* keys_data(int64_t layer) const;
  const void* values_data(int64_t layer) const;
  // Copies rows [n, kv_heads, head_dim] to positions at … at+n; `length` is the caller's to advance once all layers are in.
  void write(int64_t layer, int64_t at, const Tensor& keys, const Tensor& values);
  void grow(int64_t capacity);  // keeps what is valid

 private:
  Tensor storage_;  // [layers, 2, kv_heads, capacity, head_dim]
  int64_t capacity_;
};
using KvBlockPtr = std::shared_ptr<KvBlock>;

}  // namespace cream
