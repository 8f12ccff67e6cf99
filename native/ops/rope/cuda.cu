#include "ops/rope/cuda.h"

#include "ops/rope/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T>
int rotate(const RopeCuda<T>& c, void* stream) {
  return launch(RopeBlock<T>{c.x, c.cos, c.sin, c.y, c.heads, c.d, c.stride, c.backward, c.turned, c.y_stride}, {c.rows, threads_for(c.heads * c.d / 2)}, stream);
}
template <class T>
int write(const CacheWriteCuda<T>& c, void* stream) {
  return launch(CacheWriteBlock<T>{c.k, c.v, c.cos, c.sin, c.cache, c.pages, c.slots, c.kv_heads, c.d, c.stride, c.page_size},
                {c.rows, threads_for(c.kv_heads * c.d / 2)}, stream);
}

}  // namespace

int rope_cuda(const RopeCuda<uint16_t>& call, void* stream) { return rotate(call, stream); }
int rope_cuda(const RopeCuda<float>& call, void* stream) { return rotate(call, stream); }
int cache_write_cuda(const CacheWriteCuda<uint16_t>& call, void* stream) { return write(call, stream); }
int cache_write_cuda(const CacheWriteCuda<float>& call, void* stream) { return write(call, stream); }

}  // namespace cream::ops
