// A parallel loop for kernels that run many times per millisecond. An OpenMP region ends with a
// barrier of all threads, so one preempted thread delays every region of a step. Here the caller
// takes chunks like the other threads and waits only for threads that have begun, so on a busy
// machine a late thread delays nothing.
#pragma once

#include <cstdint>
#include <type_traits>

namespace cream {

namespace detail {
using ChunkBody = void (*)(void* body, int64_t first, int64_t last);
void parallel_for(int64_t begin, int64_t end, int64_t grain, ChunkBody call, void* body);
}  // namespace detail

// Calls body(first, last) on consecutive chunks that cover begin … end once, on at most libtorch's
// number of threads. Every chunk but the last has at least `grain` indices. The assignment of
// chunks to threads varies between calls, so no result may depend on it. The first exception of a
// chunk is rethrown once no chunk runs. A nested loop, or one that starts while another thread's
// loop uses the pool, runs on its caller only.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  detail::parallel_for(
      begin, end, grain,
      [](void* self, int64_t first, int64_t last) { (*static_cast<Plain*>(self))(first, last); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace cream
