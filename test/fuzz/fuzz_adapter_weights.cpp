// An adapter_model.safetensors from an untrusted source. Its tensors show which modules a pattern
// of target modules matches, and every tensor that its header lists is read or refused.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/error.h"
#include "weights/adapter.h"
#include "weights/reader.h"

namespace {

// A folder of this process whose adapter has a pattern of target modules.
std::string make_folder() {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("cream-fuzz-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "adapter_config.json")
      << R"({"peft_type": "LORA", "r": 4, "target_modules": ".*_proj"})";
  return folder.string();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string folder = make_folder();
  std::ofstream(folder + "/adapter_model.safetensors", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const cream::AdapterConfig config = cream::read_adapter_config(folder);
    if (config.params.targets.empty()) std::abort();
  } catch (const cream::Error&) {  // anything else is a finding
  }
  try {
    // The tensors that the file itself lists, so that they are read.
    constexpr std::string_view kPrefix = "base_model.model.model.", kEnd = ".weight";
    std::vector<std::pair<std::string, std::vector<int64_t>>> layout;
    for (const cream::TensorInfo& info : cream::parse_safetensors(data, size, "fuzz").tensors)
      if (info.name.starts_with(kPrefix) && info.name.ends_with(kEnd))
        layout.emplace_back(
            info.name.substr(kPrefix.size(), info.name.size() - kPrefix.size() - kEnd.size()),
            info.shape);
    cream::read_adapter_tensors(folder, layout);
  } catch (const cream::Error&) {
  }
  return 0;
}
