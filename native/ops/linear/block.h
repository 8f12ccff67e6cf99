// An adapter's dropout mask by blocks: eight elements per Philox call, 16 bits each. Elements are
// counted row-major, as on the CPU.
#pragma once

#include "support/block.h"
#include "support/random.h"

namespace cream::ops {

inline constexpr int64_t kMaskedPerDraw = 8;
inline constexpr uint32_t kMaskPurpose =
    0x4C6F5241u;  // separates this stream from a sampler's with the same seed

// Selects the mask's Philox stream; an element is kept if its 16-bit draw is at least the
// threshold.
struct MaskStream {
  uint64_t seed;
  uint32_t step, micro_batch, site, threshold;

  CREAM_HOST_DEVICE Philox4 draw(int64_t index) const {
    return philox(static_cast<uint32_t>(index), micro_batch, step, site ^ kMaskPurpose,
                  static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  }
  CREAM_HOST_DEVICE bool kept(const Philox4& bits, int64_t i) const {
    return (bits.x[i / 2] >> (i % 2 * 16) & 0xffff) >= threshold;
  }
};

template <class T>
struct KeepMaskBlock {
  T* kept;           // [n], 1 or 0
  int64_t n, chunk;  // a block makes `chunk` draws
  MaskStream stream;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t draws = (n + kMaskedPerDraw - 1) / kMaskedPerDraw, first = block.index() * chunk;
    block.each(first + chunk < draws ? chunk : draws - first, [&](int64_t i) {
      const Philox4 bits = stream.draw(first + i);
      const int64_t at = (first + i) * kMaskedPerDraw;
      for (int64_t j = 0; j < kMaskedPerDraw && at + j < n; ++j)
        kept[at + j] = narrow<T>(stream.kept(bits, j) ? 1.0f : 0.0f);
    });
  }
};

}  // namespace cream::ops
