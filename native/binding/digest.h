// SHA-256 by the OpenSSL that Node exports to its addons.
#pragma once

#include "support/digest.h"

namespace cream::binding {

// Empty where this Node exports none.
MakeDigest node_sha256();

}  // namespace cream::binding
