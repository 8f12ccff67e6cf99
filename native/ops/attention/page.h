// The length of a page of the KV cache, defined only here.
#pragma once

#include <cstdint>

namespace cream {

inline constexpr int64_t page_size = 16;  // positions

}  // namespace cream
