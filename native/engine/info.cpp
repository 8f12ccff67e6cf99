// Describes the machine and the build, for `cream doctor` and for the first line of a run.
#include <fstream>

#include <ATen/Version.h>
#include <torch/version.h>

#include "engine/engine.h"
#include "engine/shared_model.h"
#include "ops/dispatch.h"
#include "weights/reader.h"

namespace cream {

namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0)
      return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) features.emplace_back("avx2");
  if (__builtin_cpu_supports("fma")) features.emplace_back("fma");
  if (__builtin_cpu_supports("avx512f")) features.emplace_back("avx512f");
  if (__builtin_cpu_supports("avx512bw")) features.emplace_back("avx512bw");
  if (__builtin_cpu_supports("avx512vl")) features.emplace_back("avx512vl");
  if (__builtin_cpu_supports("avx512dq")) features.emplace_back("avx512dq");
  if (__builtin_cpu_supports("avx512vnni")) features.emplace_back("avx512_vnni");
  if (__builtin_cpu_supports("avx512bf16")) features.emplace_back("avx512_bf16");
  if (ops::cpu_features().amx) features.emplace_back("amx_bf16");
#endif
  return features;
}

}  // namespace

EngineInfo engine_info() {
  EngineInfo info;
  info.torch = TORCH_VERSION;
  info.cpu_model = cpu_model();
  info.cpu_level = ops::level_name(ops::level());
  info.cpu_loss = ops::level_loss(ops::level());
  info.cpu_features = cpu_features();
  info.threads = threads();
  info.cuda = cuda_info();
  info.weight_bytes = live_weight_bytes();
  return info;
}

std::string read_gguf_metadata(const std::string& path) { return open_gguf(path)->metadata_json(); }

}  // namespace cream
