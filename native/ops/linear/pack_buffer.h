// What a thread has packed for the product that it works on. The buffer is kept, so that a decode
// step allocates nothing; what is in it belongs to one part of one product, of which a thread often
// takes several pieces.
#pragma once

#include <cstdint>
#include <vector>

namespace cream::ops::packed {

uint64_t next_product();  // a name that no product had before

struct PackBuffer {
  std::vector<char> buffer;
  uint64_t product = 0;
  int64_t part = 0;

  // `values` of buffer, 64-byte aligned and filled with this part.
  template <class T, class Fill>
  const T* of(uint64_t wanted, int64_t wanted_part, int64_t values, const Fill& fill) {
    const size_t bytes = static_cast<size_t>(values) * sizeof(T) + 64;
    if (buffer.size() < bytes) buffer.resize(bytes), product = 0;
    T* at =
        reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) & ~uintptr_t{63});
    if (product != wanted || part != wanted_part) fill(at);
    product = wanted;
    part = wanted_part;
    return at;
  }
};

}  // namespace cream::ops::packed
