// Kernel selection at run time: decided from the CPU, lowered by tests, and counted, so a test can
// tell "the fast kernel agreed" from "the fast kernel never ran".
#pragma once

#include <cstdint>

#include "ops/level.h"

namespace cream::ops {

struct CpuFeatures {
  bool avx2 = false;         // and FMA, F16C
  bool avx512 = false;       // F, BW, VL, DQ
  bool avx512_bf16 = false;  // and VDPBF16PS
  bool amx = false;          // and TDPBF16PS, which the operating system permits
};

const CpuFeatures& cpu_features();  // asked once
// The best level of this CPU, or a lower one set by CREAM_CPU_LEVEL (plain, avx2, avx512,
// avx512_bf16).
Level cpu_level();
Level level();  // the level that kernels run at: cpu_level(), or a lower one forced by a test

// level_name: e.g. "AVX2". level_loss: one sentence on what is missing at this level; empty at the
// best level.
const char* level_name(Level level);
const char* level_loss(Level level);

inline bool fast_path() { return level() != Level::plain; }  // fast kernels exist
bool plain_forced();  // a test asks for the plain paths, on devices too

// While one of these exists, every op runs at this level or below, in all threads.
class ForceLevel {
 public:
  explicit ForceLevel(Level most);
  ~ForceLevel();
  ForceLevel(const ForceLevel&) = delete;
  ForceLevel& operator=(const ForceLevel&) = delete;

 private:
  Level before_;
};
struct ForcePlain : ForceLevel {
  ForcePlain() : ForceLevel(Level::plain) {}
};

// Calls f.operator()<L>() for the current level, which must not be plain, or for the one below AMX.
template <class F>
void at_level(F&& f) {
#if defined(__x86_64__)
  switch (without_tiles(level())) {
    case Level::avx512_bf16:
      return f.template operator()<Level::avx512_bf16>();
    case Level::avx512:
      return f.template operator()<Level::avx512>();
    default:
      return f.template operator()<Level::avx2>();
  }
#endif
}

enum class Op {
  linear,
  linear_f32,
  linear_gradient,
  rms_norm,
  rope,
  swiglu,
  packed_attention,
  packed_attention_gradient,
  decode_attention,
  sample,
  linear_logprob,
  token_logprob,
  softcap,
  adamw,
  count
};

// How often the kernel of `op` has run in this process at the current level.
uint64_t fast_runs(Op op);
void count_fast_run(Op op);

}  // namespace cream::ops
