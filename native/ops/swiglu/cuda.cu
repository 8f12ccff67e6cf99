#include "ops/swiglu/cuda.h"

#include "ops/swiglu/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T, int N>
int run(const SwigluCuda<T>& c, void* stream) {
  const Grid grid{c.rows, threads_for(c.n / N)};
  if (c.dy == nullptr)
    return launch(SwigluBlock<T, N>{c.gate_up, c.out, c.n, c.activation}, grid, stream);
  return launch(SwigluBackwardBlock<T, N>{c.gate_up, c.dy, c.out, c.n, c.activation}, grid, stream);
}

}  // namespace

int swiglu_cuda(const SwigluCuda<uint16_t>& c, void* stream) {
  return fits_vectors<8>(c.n, {c.gate_up, c.dy, c.out}) ? run<uint16_t, 8>(c, stream)
                                                        : run<uint16_t, 1>(c, stream);
}
int swiglu_cuda(const SwigluCuda<float>& c, void* stream) {
  return fits_vectors<4>(c.n, {c.gate_up, c.dy, c.out}) ? run<float, 4>(c, stream)
                                                        : run<float, 1>(c, stream);
}

}  // namespace cream::ops
