// Keyed, counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers:
// As Easy as 1, 2, 3"). A draw depends only on (key, position), not on earlier draws, so
// results do not depend on the cut into batches.
#pragma once

#include <array>
#include <cstdint>

#include "support/host_device.h"
#include "support/types.h"

namespace cream {

struct Philox4 {
  uint32_t x[4];
};

CREAM_HOST_DEVICE inline Philox4 philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                        uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Philox4{{c0, c1, c2, c3}};
}

// Uniform in [0, 1) with 53 bits, for token `position` of the sample `key`.
CREAM_HOST_DEVICE inline double uniform(const SampleKey& key, uint32_t position) {
  // The 64-bit seed keys the cipher. The first call mixes in the iteration; the second one
  // addresses prompt, sample and position.
  const Philox4 folded =
      philox(key.iteration, key.sample, static_cast<uint32_t>(key.prompt >> 32), 0x43524541u,
             static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32));
  const Philox4 out = philox(position, static_cast<uint32_t>(key.prompt), key.sample, folded.x[2],
                             folded.x[0], folded.x[1]);
  const uint64_t bits = (uint64_t{out.x[0]} << 32 | out.x[1]) >> 11;
  return static_cast<double>(bits) * (1.0 / 9007199254740992.0);
}

}  // namespace cream
