// A thread's packed operand for the current product. The buffer is kept, so a decode step allocates
// nothing. Its content belongs to one part of one product, from which a thread often processes
// several chunks.
#pragma once

#include <cstdint>
#include <vector>

namespace cream::ops::packed {

uint64_t next_product();  // a fresh id

struct PackBuffer {
  std::vector<char> buffer;
  uint64_t product = 0;
  int64_t part = 0;

  // Returns `values` elements of the buffer, 64-byte aligned, holding this part; fills it if
  // needed.
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
