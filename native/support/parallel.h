// One loop cut over the cores, for kernels that run many times a millisecond. OpenMP's regions
// begin and end with a barrier of all threads, so one thread that the system has put aside stops
// every region of a step. Here the caller takes pieces like anyone else and waits only for those
// who have begun: on a busy machine a late thread finds the work done.
#pragma once

#include <cstdint>
#include <type_traits>

namespace cream {

namespace detail {
using PieceBody = void (*)(void* body, int64_t first, int64_t last);
void parallel_for(int64_t begin, int64_t end, int64_t grain, PieceBody call, void* body);
}  // namespace detail

// body(first, last) on consecutive pieces that cover begin … end once, each at least `grain` long
// but the last, on at most as many threads as libtorch is set to. Which thread takes which piece
// differs from call to call: no result may depend on it. The first exception that a piece throws
// comes out of the call, once no piece runs any more. Within a body, and while another thread's
// loop has the pool, a loop runs on its caller alone.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  detail::parallel_for(
      begin, end, grain,
      [](void* self, int64_t first, int64_t last) { (*static_cast<Plain*>(self))(first, last); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace cream
