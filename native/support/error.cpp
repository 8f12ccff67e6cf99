#include "support/error.h"

namespace cream {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "ERR_INVALID_ARGUMENT";
    case ErrorCode::invalid_file:
      return "ERR_INVALID_FILE";
    case ErrorCode::unsupported:
      return "ERR_UNSUPPORTED";
    case ErrorCode::not_found:
      return "ERR_NOT_FOUND";
    case ErrorCode::io:
      return "ERR_IO";
    case ErrorCode::out_of_memory:
      return "ERR_OUT_OF_MEMORY";
    case ErrorCode::non_finite:
      return "ERR_NON_FINITE";
    case ErrorCode::aborted:
      return "ERR_ABORTED";
    case ErrorCode::disposed:
      return "ERR_DISPOSED";
    case ErrorCode::internal:
      return "ERR_INTERNAL";
  }
  return "ERR_INTERNAL";
}

}  // namespace cream
