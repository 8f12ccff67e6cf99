// GPU time by kernel, for `cream bench --kernels`: CUDA loads this library into a trial's process
// (CUDA_INJECTION64_PATH), and CUPTI tells it of every kernel and copy. The trial marks the start
// and the end of its work by the files PREFIX.start and PREFIX.stop (CREAM_KERNEL_TIMES is PREFIX);
// this removes each when it has seen it. What ran in between is then in PREFIX.tsv: nanoseconds,
// launches and name, a line each; the first line is the time in which anything ran.
#include <cupti.h>
#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Total {
  uint64_t nanoseconds = 0, launches = 0;
};

std::mutex mutex;
std::map<std::string, Total> totals;
std::vector<std::pair<uint64_t, uint64_t>> spans;

std::string demangled(const char* name) {
  int status = 0;
  char* const plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  const std::string text = status == 0 && plain != nullptr ? plain : name;
  std::free(plain);
  return text;
}

template <class Record>
void add(const std::string& name, const Record& record) {
  Total& total = totals[name];
  total.nanoseconds += record.end - record.start;
  ++total.launches;
  spans.emplace_back(record.start, record.end);
}

const char* copy_name(uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
      return "[copy to the device]";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
      return "[copy to the host]";
    default:
      return "[copy]";
  }
}

void CUPTIAPI request(uint8_t** buffer, size_t* size, size_t* most) {
  *size = size_t{8} << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, *size));
  *most = 0;
}

void CUPTIAPI complete(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto& kernel = *reinterpret_cast<const CREAM_KERNEL_RECORD*>(record);
      add(demangled(kernel.name), kernel);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto& copy = *reinterpret_cast<const CREAM_MEMCPY_RECORD*>(record);
      add(copy_name(copy.copyKind), copy);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      add("[fill]", *reinterpret_cast<const CREAM_MEMSET_RECORD*>(record));
    }
  }
  std::free(buffer);
}

// Time in which at least one kernel or copy ran.
uint64_t busy() {
  std::sort(spans.begin(), spans.end());
  uint64_t sum = 0, until = 0;
  for (const auto& [start, end] : spans) {
    if (end <= until) continue;
    sum += end - std::max(start, until);
    until = end;
  }
  return sum;
}

void write(const std::string& path) {
  const std::string part = path + ".part";
  FILE* const file = std::fopen(part.c_str(), "w");
  if (file == nullptr) return;
  const auto line = [&](uint64_t nanoseconds, uint64_t launches, const std::string& name) {
    std::fprintf(file, "%llu\t%llu\t%s\n", static_cast<unsigned long long>(nanoseconds),
                 static_cast<unsigned long long>(launches), name.c_str());
  };
  line(busy(), spans.size(), "busy");
  for (const auto& [name, total] : totals) line(total.nanoseconds, total.launches, name);
  std::fclose(file);
  std::rename(part.c_str(), path.c_str());
}

void watch(const std::string& prefix) {
  const std::string start = prefix + ".start", stop = prefix + ".stop";
  const auto marked = [](const std::string& path) { return access(path.c_str(), F_OK) == 0; };
  for (;;) {
    usleep(10'000);
    const bool begins = marked(start), ends = marked(stop);
    if (!begins && !ends) continue;
    cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    const std::lock_guard lock(mutex);
    if (ends) write(prefix + ".tsv");
    totals.clear();
    spans.clear();
    unlink((ends ? stop : start).c_str());
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  const char* const prefix = std::getenv("CREAM_KERNEL_TIMES");
  if (prefix == nullptr) return 0;
  bool heard = cuptiActivityRegisterCallbacks(request, complete) == CUPTI_SUCCESS;
  for (const CUpti_ActivityKind kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                        CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET})
    heard = cuptiActivityEnable(kind) == CUPTI_SUCCESS && heard;
  if (!heard) std::fprintf(stderr, "kernel_times: CUPTI does not record kernels here\n");
  std::thread(watch, std::string(prefix)).detach();
  return 1;
}
