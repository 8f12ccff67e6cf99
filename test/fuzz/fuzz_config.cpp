// clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined with
// model/{config,families,config_reader,config_writer}.cpp and support/json.cpp; seeds: any
// config.json.
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
