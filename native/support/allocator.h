// Keeps freed tensor memory for the next tensor of that size. A training step allocates and frees
// large tensors by the thousand; glibc returns each to the kernel, which zeroes and faults it in
// again page by page. What is kept is bounded by what was needed at once.
#pragma once

#include <cstddef>

namespace cream {

// Makes libtorch's CPU tensors use it, once a process. Tensors made before keep their own memory.
void use_caching_allocator();

// Gives everything that no tensor uses back to the operating system, and forgets how much was once
// in use. Any thread.
void release_cached_memory();

// Bytes held for reuse, for tests.
size_t cached_bytes();

}  // namespace cream
