// The elements that an adapter's dropout keeps: a counter-based stream, so a mask is regenerated
// from its name rather than stored, under activation checkpointing and after a resume.
#include "ops/launch.h"
#include "ops/linear/block.h"
#include "ops/linear/op.h"

namespace cream::ops {

Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns,
                 at::TensorOptions options) {
  if (options.device().is_cuda() || options.device().is_privateuseone())
    return device::keep_mask(dropout, rows, columns, options);
  const MaskStream stream{dropout.seed, dropout.step, dropout.micro_batch, dropout.site,
                          static_cast<uint32_t>(std::lround(dropout.rate * 65536))};
  const Tensor kept = at::empty({rows, columns}, at::TensorOptions().dtype(at::kByte));
  uint8_t* const to = kept.mutable_data_ptr<uint8_t>();
  const int64_t count = rows * columns;
  parallel_for(
      0, (count + kMaskedPerDraw - 1) / kMaskedPerDraw, 1 << 12, [&](int64_t begin, int64_t end) {
        for (int64_t draw = begin; draw < end; ++draw) {
          const Philox4 bits = stream.draw(draw);
          const int64_t first = draw * kMaskedPerDraw, n = std::min(kMaskedPerDraw, count - first);
          for (int64_t i = 0; i < n; ++i) to[first + i] = stream.kept(bits, i);
        }
      });
  return kept.to(c10::typeMetaToScalarType(options.dtype()));
}

}  // namespace cream::ops
