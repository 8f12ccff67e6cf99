#include "ops/linear/cuda.h"

#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T>
int draw(const KeepMaskCuda<T>& c, void* stream) {
  constexpr int64_t chunk = 1024;
  const int64_t draws = (c.n + kMaskedPerDraw - 1) / kMaskedPerDraw;
  return launch(KeepMaskBlock<T>{c.kept, c.n, chunk, c.stream}, {(draws + chunk - 1) / chunk, 256},
                stream);
}

template <class Out>
int thin(const ThinBlock<Out>& call, void* stream) {
  return launch(
      ThinBlock<Out>{call},
      {(call.out + call.columns - 1) / call.columns, call.most_threads, call.shared_bytes}, stream);
}

}  // namespace

int thin_product_cuda(const ThinBlock<uint16_t>& call, void* stream) { return thin(call, stream); }
int thin_product_cuda(const ThinBlock<float>& call, void* stream) { return thin(call, stream); }

int keep_mask_cuda(const KeepMaskCuda<uint16_t>& call, void* stream) { return draw(call, stream); }
int keep_mask_cuda(const KeepMaskCuda<float>& call, void* stream) { return draw(call, stream); }

}  // namespace cream::ops
