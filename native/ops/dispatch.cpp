#include "ops/dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <string_view>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cream::ops {
namespace {

std::atomic<Level> most{Level::amx};
std::array<std::array<std::atomic<uint64_t>, 5>, static_cast<size_t>(Op::count)> runs{};

// Linux gives a process the tiles' state only if it asks (arch/x86/xstate.rst in the kernel's
// documentation); the answer holds for all its threads.
bool tiles_permitted() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;  // CPUID 7.0, EDX
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & bf16) == 0 || (d & tile) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__) && defined(__GNUC__)
  // libgcc also checks that the operating system saves the wide registers.
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("f16c");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.amx = features.avx512_bf16 && tiles_permitted();
#endif
  return features;
}

// The upper bound from CREAM_CPU_LEVEL, for measurements and debugging; other values mean no bound.
Level bound() {
  const char* wanted = std::getenv("CREAM_CPU_LEVEL");
  const std::string_view name = wanted ? wanted : "";
  return name == "plain"         ? Level::plain
         : name == "avx2"        ? Level::avx2
         : name == "avx512"      ? Level::avx512
         : name == "avx512_bf16" ? Level::avx512_bf16
                                 : Level::amx;
}

std::atomic<uint64_t>& runs_of(Op op) {
  return runs[static_cast<size_t>(op)][static_cast<size_t>(level())];
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

Level cpu_level() {
  static const Level allowed = bound();
  const CpuFeatures& cpu = cpu_features();
  return std::min(allowed, cpu.amx           ? Level::amx
                           : cpu.avx512_bf16 ? Level::avx512_bf16
                           : cpu.avx512      ? Level::avx512
                           : cpu.avx2        ? Level::avx2
                                             : Level::plain);
}

Level level() { return std::min(cpu_level(), most.load(std::memory_order_relaxed)); }
bool plain_forced() { return most.load(std::memory_order_relaxed) == Level::plain; }

const char* level_name(Level level) {
  constexpr const char* names[] = {"plain ATen", "AVX2", "AVX-512", "AVX-512 BF16", "AMX"};
  return names[static_cast<size_t>(level)];
}

const char* level_loss(Level level) {
  constexpr const char* losses[] = {
      "No AVX2: every op is plain ATen, many times slower, and a sampled token's log-prob differs "
      "from its score by rounding.",
      "No AVX-512: bf16 is widened and multiplied in fp32, eight at a time.",
      "No AVX-512 BF16: bf16 is widened and multiplied in fp32, at half the speed or less.", "",
      ""};
  return losses[static_cast<size_t>(level)];
}

ForceLevel::ForceLevel(Level wanted) : before_(most.load()) { most = std::min(before_, wanted); }
ForceLevel::~ForceLevel() { most = before_; }

uint64_t fast_runs(Op op) { return runs_of(op).load(std::memory_order_relaxed); }
void count_fast_run(Op op) { runs_of(op).fetch_add(1, std::memory_order_relaxed); }

}  // namespace cream::ops
