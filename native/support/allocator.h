// Keeps freed tensor memory for later tensors of any size. A training step allocates and frees
// thousands of large tensors; glibc would return each to the kernel, which zeroes its pages again.
// The cached memory is bounded by the peak of live memory.
#pragma once

#include <cstddef>

namespace cream {

// Makes libtorch's CPU tensors use this allocator; has an effect once per process. Earlier tensors
// keep their memory.
void use_caching_allocator();

// Returns all cached memory to the operating system and resets the recorded peak. Any thread.
void release_cached_memory();

// Bytes cached for reuse; for tests.
size_t cached_bytes();

}  // namespace cream
