// The engine's only exception type. The message is one sentence for the user: what is wrong, where,
// and what to do. `code` is stable and reaches JavaScript as CreamError.code.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace cream {

enum class ErrorCode {
  invalid_argument,  // the caller passed an invalid value
  invalid_file,      // a file's contents are malformed or inconsistent
  unsupported,       // a valid model or request that this build cannot run
  not_found,         // a missing file
  io,                // an error of the operating system: disk full, permission
  out_of_memory,
  non_finite,  // NaN or infinity in a loss or gradient
  aborted,     // the caller's AbortSignal fired
  disposed,    // the object was disposed of before the call
  internal,    // a bug in cream-lm
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string message)
      : std::runtime_error(std::move(message)), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// The name JavaScript sees, e.g. "ERR_INVALID_FILE".
const char* error_code_name(ErrorCode code);

}  // namespace cream
