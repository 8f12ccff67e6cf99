// Writes into and between pages on the GPU; conventions as in ops/rms_norm/cuda.h.
#pragma once

#include <cstdint>

namespace cream::ops {

template <class T>
struct WritePagesCuda {
  const T *k, *v;
  T* cache;
  const int32_t *pages, *slots;
  int64_t rows, kv_heads, d, k_stride, v_stride, page_size;
};
int write_pages_cuda(const WritePagesCuda<uint16_t>& call, void* stream);
int write_pages_cuda(const WritePagesCuda<float>& call, void* stream);

template <class T>
struct RopePagesCuda {
  const T* qkv;
  const float *cos, *sin;
  T *y, *cache;
  const int32_t *pages, *slots;
  int64_t rows, heads, kv_heads, d, rotary_dim, page_size;
  int64_t kept_heads;  // of y: the queries, or keys too
};
int rope_pages_cuda(const RopePagesCuda<uint16_t>& call, void* stream);
int rope_pages_cuda(const RopePagesCuda<float>& call, void* stream);

struct CopyPagesCuda {
  void* cache;  // [layers, pages, page_bytes]; page_bytes a multiple of 16
  const int32_t *from, *to;
  int64_t copies, layers, pages, page_bytes;
};
int copy_pages_cuda(const CopyPagesCuda& call, void* stream);

}  // namespace cream::ops
