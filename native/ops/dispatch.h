// Which kernel runs: decided at run time from the CPU, switched off by tests, and counted so that a test can tell
// "the fast kernel agreed" from "the fast kernel never ran".
#pragma once

#include <atomic>
#include <cstdint>

namespace cream::ops {

struct CpuFeatures {
  bool avx512 = false;       // F, BW, VL, DQ: what *_avx512.cpp is compiled for, bf16 dot products aside
  bool avx512_bf16 = false;  // and VDPBF16PS
};

const CpuFeatures& cpu_features();  // asked once

// True where the kernels of *_avx512.cpp may run: they use both features, so one switch serves all ops.
bool fast_path();

// True while a test forces the plain paths.
bool plain_forced();

// While one of these lives, every op takes its plain path, in all threads.
class ForcePlain {
 public:
  ForcePlain();
  ~ForcePlain();
  ForcePlain(const ForcePlain&) = delete;
  ForcePlain& operator=(const ForcePlain&) = delete;
};

enum class Op { linear, linear_f32, linear_gradient, rms_norm, rope, swiglu, packed_attention, packed_attention_gradient, decode_attention, sample, linear_logprob, token_logprob, softcap, adamw, count };

// How often the fast kernel of `op` has run in this process.
uint64_t fast_runs(Op op);
void count_fast_run(Op op);

}  // namespace cream::ops
