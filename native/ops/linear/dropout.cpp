// Which elements an adapter's dropout keeps: a counter-based stream, so that a mask is made again from its name instead of kept,
// under activation checkpointing as after a resume.
#include "ops/linear/op.h"
#include "support/random.h"
#include "support/parallel.h"

namespace cream::ops {

namespace {

constexpr int64_t kPerBlock = 8;          // 16 bits each of one Philox block
constexpr uint32_t kPurpose = 0x4C6F5241u;  // tells this stream from a sampler's under the same seed

}  // namespace

Tensor keep_mask(const InputDropout& dropout, int64_t rows, int64_t columns, at::TensorOptions options) {
  const uint32_t threshold = static_cast<uint32_t>(std::lround(dropout.rate * 65536));
  const Tensor kept = at::empty({rows, columns}, at::TensorOptions().dtype(at::kByte));
  uint8_t* const to = kept.mutable_data_ptr<uint8_t>();
  const int64_t count = rows * columns;
  const auto seed_low = static_cast<uint32_t>(dropout.seed), seed_high = static_cast<uint32_t>(dropout.seed >> 32);
  parallel_for(0, (count + kPerBlock - 1) / kPerBlock, 1 << 12, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Philox4 bits = philox(static_cast<uint32_t>(block), dropout.micro_batch, dropout.step, dropout.site ^ kPurpose, seed_low, seed_high);
      const int64_t first = block * kPerBlock, n = std::min(kPerBlock, count - first);
      for (int64_t i = 0; i < n; ++i) to[first + i] = ((bits.x[i / 2] >> (i % 2 * 16)) & 0xffff) >= threshold;
    }
  });
  return kept.to(options.device(), c10::typeMetaToScalarType(options.dtype()));
}

}  // namespace cream::ops
