// A config.json from an untrusted source: it is refused, or read back equal from what we write.
#include "model/config.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cream::ModelConfig config =
        cream::config_from_json(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    // What was accepted must be read back from what we write.
    if (cream::config_from_json(cream::config_to_json(config, cream::DType::bfloat16), "again")
            .head_dim != config.head_dim)
      std::abort();
  } catch (const cream::Error&) {  // anything else is a finding
  }
  return 0;
}
