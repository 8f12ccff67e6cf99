// Lengths in the KV cache, defined only here.
#pragma once

#include <cstdint>

namespace cream {

inline constexpr int64_t page_size = 16;  // positions of a page, on a device
inline constexpr int64_t key_group = 16;  // keys that a CPU's cache transposes together

}  // namespace cream
