// Rotary embedding and the cache write on the GPU; conventions of ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

namespace cream::ops {

template <class T>
struct RopeCuda {
  const T* x;
  const float *cos, *sin;
  T* y;
  int64_t rows, heads, d, stride;
  bool backward;
  int64_t turned, y_stride;
};
int rope_cuda(const RopeCuda<uint16_t>& call, void* stream);
int rope_cuda(const RopeCuda<float>& call, void* stream);

template <class T>
struct CacheWriteCuda {
  const T *k, *v;
  const float *cos, *sin;
  T* cache;
  const int32_t *pages, *slots;
  int64_t rows, kv_heads, d, stride, page_size;
};
int cache_write_cuda(const CacheWriteCuda<uint16_t>& call, void* stream);
int cache_write_cuda(const CacheWriteCuda<float>& call, void* stream);

}  // namespace cream::ops
