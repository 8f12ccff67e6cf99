#include "ops/rope/cuda.h"

#include "ops/rope/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <int N, class T>
int rotate(const RopeCuda<T>& c, void* stream) {
  return launch(RopeBlock<T, N>{c.x, c.cos, c.sin, c.y, c.heads, c.d, c.stride, c.backward,
                                c.rotary_dim, c.y_stride},
                {c.rows, threads_for(c.heads * c.d / 2 / N)}, stream);
}
template <int N, class T>
bool fits(const RopeCuda<T>& c) {
  return fits_vectors<N>(c.rotary_dim / 2, {c.x, c.cos, c.sin, c.y}) && c.rotary_dim % 2 == 0 &&
         c.d % N == 0 && c.stride % N == 0 && c.y_stride % N == 0;
}

}  // namespace

int rope_cuda(const RopeCuda<uint16_t>& call, void* stream) {
  return fits<8>(call) ? rotate<8>(call, stream) : rotate<1>(call, stream);
}
int rope_cuda(const RopeCuda<float>& call, void* stream) {
  return fits<4>(call) ? rotate<4>(call, stream) : rotate<1>(call, stream);
}

}  // namespace cream::ops
