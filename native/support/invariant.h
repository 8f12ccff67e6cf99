// Asserts what src/engine has checked: src/engine/requests.ts describes each field of a request,
// with its range, its default and the message to the caller. A violation is a bug of cream-lm.
#pragma once

#include <string>

#include "support/error.h"

namespace cream {

// Throws Error{internal} unless `holds`.
inline void invariant(bool holds, const char* what) {
  if (!holds)
    throw Error(ErrorCode::internal, std::string("[internal] ") + what +
                                         ", which src/engine should have refused; please report "
                                         "this.");
}

}  // namespace cream
