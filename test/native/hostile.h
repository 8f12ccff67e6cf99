// Malicious files: false statements, each with its purpose and the error that is expected.
#pragma once

#include "check.h"
#include "model_files.h"

namespace hostile {

using namespace cream;
using namespace model_files;

inline constexpr uint64_t kHuge = uint64_t{1} << 63;

inline const char* const kHeader =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2,)"
    R"(2],"data_offsets":[8,16]}})";

// The honest text in which `from` is replaced by `to`, and a part of the expected error.
struct Lie {
  const char *intent, *from, *to, *sentence;
};

inline const uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Runs `read` and requires the error; the entry's purpose is part of the failure's text.
inline void refused(const std::string& intent, const std::string& sentence,
                    const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    if (std::string(error.what()).find(sentence) != std::string::npos &&
        std::string(error.what()).find("FILE") != std::string::npos)
      return;
    check::fail(intent + ": expected FILE and \"" + sentence + "\", got \"" + error.what() + "\"",
                __FILE__, __LINE__);
  }
  check::fail(intent + ": was accepted", __FILE__, __LINE__);
}

}  // namespace hostile
