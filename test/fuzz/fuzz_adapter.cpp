// An adapter_config.json from an untrusted source: it is refused, or read with sane numbers.
#include <cmath>
#include <cstdlib>

#include "support/error.h"
#include "weights/adapter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cream::AdapterConfig config =
        cream::parse_adapter_config(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    if (config.params.rank <= 0 || !std::isfinite(config.params.alpha)) std::abort();
  } catch (const cream::Error&) {  // anything else is a finding
  }
  return 0;
}
