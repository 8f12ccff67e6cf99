#include "ops/adamw/cuda.h"

#include "ops/adamw/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T>
int update(const AdamWCuda<T>& c, void* stream) {
  constexpr int64_t chunk = 4096;
  return launch(AdamWBlock<T>{c.master, c.m, c.v, c.gradient, c.weight, c.n, chunk, c.scalars},
                {(c.n + chunk - 1) / chunk, 256}, stream);
}

}  // namespace

int adamw_cuda(const AdamWCuda<uint16_t>& call, void* stream) { return update(call, stream); }
int adamw_cuda(const AdamWCuda<float>& call, void* stream) { return update(call, stream); }

int adamw_forms_cuda(const AdamWForms& forms, const AdamWScalars& scalars, void* stream) {
  return launch(AdamWFormsBlock{forms, scalars},
                {(forms.n + kStateBlock - 1) / kStateBlock, kStateBlock, kStateBlock * 8}, stream);
}

int sum_of_squares_cuda(const float* x, double* partial, int64_t n, void* stream) {
  return launch(SumOfSquaresBlock<float>{x, partial, n, 65536}, {sum_of_squares_parts(n), 1024},
                stream);
}
int sum_of_squares_cuda(const uint16_t* x, double* partial, int64_t n, void* stream) {
  return launch(SumOfSquaresBlock<uint16_t>{x, partial, n, 65536}, {sum_of_squares_parts(n), 1024},
                stream);
}

}  // namespace cream::ops
