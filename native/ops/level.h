// Instruction sets that kernels are compiled for: each *_simd.cpp is compiled once per level. A
// later level includes the earlier ones.
#pragma once

namespace cream::ops {

enum class Level {
  plain,        // no kernel, ATen's own ops
  avx2,         // AVX2, FMA, F16C
  avx512,       // F, BW, VL, DQ
  avx512_bf16,  // and VDPBF16PS
  amx,          // and TDPBF16PS, for products and attention in bf16; the rest runs at avx512_bf16
};

// The level of the kernels that have no version for tiles.
inline constexpr Level without_tiles(Level level) {
  return level == Level::amx ? Level::avx512_bf16 : level;
}

}  // namespace cream::ops
