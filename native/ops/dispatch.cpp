#include "ops/dispatch.h"

#include <array>

namespace cream::ops {
namespace {
std::atomic<int> plain_scopes{0};
std::array<std::atomic<uint64_t>, static_cast<size_t>(Op::count)> runs{};

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__) && defined(__GNUC__)
  // libgcc's table also asks the operating system whether it saves the 512-bit registers.
  __builtin_cpu_init();
  features.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return features;
}
}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

bool fast_path() { return cpu_features().avx512_bf16 && plain_scopes.load(std::memory_order_relaxed) == 0; }

bool plain_forced() { return plain_scopes.load(std::memory_order_relaxed) != 0; }

ForcePlain::ForcePlain() { plain_scopes.fetch_add(1); }
ForcePlain::~ForcePlain() { plain_scopes.fetch_sub(1); }

uint64_t fast_runs(Op op) { return runs[static_cast<size_t>(op)].load(std::memory_order_relaxed); }
void count_fast_run(Op op) { runs[static_cast<size_t>(op)].fetch_add(1, std::memory_order_relaxed); }

}  // namespace cream::ops
