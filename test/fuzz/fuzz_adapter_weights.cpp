// An adapter_model.safetensors from an untrusted source. Its tensors show which modules a pattern
// of target modules matches, and every tensor that its header lists is read or refused.
#include <cstdlib>
#include <string>

#include "../native/model_files.h"
#include "support/error.h"
#include "weights/adapter.h"
#include "weights/reader.h"

namespace {

// A folder whose adapter has a pattern of target modules.
struct Folder {
  Folder() {
    folder.write("adapter_config.json",
                 R"({"peft_type": "LORA", "r": 4, "target_modules": ".*_proj"})");
  }
  const model_files::TemporaryFolder folder;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder made;
  const std::string& folder = made.folder.path();
  made.folder.write("adapter_model.safetensors",
                    std::string(reinterpret_cast<const char*>(data), size));
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
