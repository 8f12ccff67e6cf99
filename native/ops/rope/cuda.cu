#include "ops/rope/cuda.h"

#include "ops/rope/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T>
int rotate(const RopeCuda<T>& c, void* stream) {
  return launch(RopeBlock<T>{c.x, c.cos, c.sin, c.y, c.heads, c.d, c.stride, c.backward,
                             c.rotary_dim, c.y_stride},
                {c.rows, threads_for(c.heads * c.d / 2)}, stream);
}

}  // namespace

int rope_cuda(const RopeCuda<uint16_t>& call, void* stream) { return rotate(call, stream); }
int rope_cuda(const RopeCuda<float>& call, void* stream) { return rotate(call, stream); }

}  // namespace cream::ops
