// The one place that says how long a page of the key/value cache is.
#pragma once

#include <cstdint>

namespace cream {

inline constexpr int64_t page_size = 16;  // positions

}  // namespace cream
