#include "ops/rms_norm/cuda.h"

#include "ops/rms_norm/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T, int N>
int forward(const RmsNormCuda<T>& c, void* stream) {
  return launch(
      RmsNormBlock<T, N>{c.x, c.residual, c.h, c.weight, c.y, c.inverse, c.width, c.eps, c.offset},
      {c.rows, threads_for(c.width / N)}, stream);
}
template <class T, int N>
int backward(const RmsNormBackwardCuda<T>& c, void* stream) {
  const int64_t chunk = rms_norm_chunk(c.rows);
  return launch(RmsNormBackwardBlock<T, N>{c.h, c.weight, c.inverse, c.dy, c.dh, c.dweight, c.rows,
                                           c.width, chunk, c.offset, c.added},
                {rms_norm_chunks(c.rows), threads_for(c.width / N), c.width * 4}, stream);
}

}  // namespace

int rms_norm_cuda(const RmsNormCuda<uint16_t>& c, void* stream) {
  return fits_vectors<8>(c.width, {c.x, c.residual, c.h, c.weight, c.y})
             ? forward<uint16_t, 8>(c, stream)
             : forward<uint16_t, 1>(c, stream);
}
int rms_norm_cuda(const RmsNormCuda<float>& c, void* stream) {
  return fits_vectors<4>(c.width, {c.x, c.residual, c.h, c.weight, c.y})
             ? forward<float, 4>(c, stream)
             : forward<float, 1>(c, stream);
}
int rms_norm_backward_cuda(const RmsNormBackwardCuda<uint16_t>& c, void* stream) {
  return fits_vectors<8>(c.width, {c.h, c.weight, c.dy, c.dh, c.added})
             ? backward<uint16_t, 8>(c, stream)
             : backward<uint16_t, 1>(c, stream);
}
int rms_norm_backward_cuda(const RmsNormBackwardCuda<float>& c, void* stream) {
  return fits_vectors<4>(c.width, {c.h, c.weight, c.dy, c.dh, c.added})
             ? backward<float, 4>(c, stream)
             : backward<float, 1>(c, stream);
}

}  // namespace cream::ops
