#include <atomic>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "support/parallel.h"

using namespace cream;

namespace {

// Every index is visited once, for any cut into chunks.
void check_covered(int64_t begin, int64_t end, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(end));
  parallel_for(begin, end, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) ++seen[i];
  });
  for (int64_t i = 0; i < end; ++i) CHECK(seen[i] == (i >= begin ? 1 : 0));
}

CHECK_CASE("support: a parallel loop takes every index once") {
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    for (const int64_t n : {0, 1, 2, 7, 64, 1001})
      for (const int64_t grain : {1, 3, 100}) {
        check_covered(0, n, grain);
        check_covered(n / 2, n, grain);
      }
  }
  at::set_num_threads(2);
  for (int i = 0; i < 20000; ++i) {
    std::atomic<int64_t> sum{0};
    parallel_for(0, 8, 1, [&](int64_t first, int64_t last) { sum += last - first; });
    CHECK(sum == 8);
  }
  at::set_num_threads(before);
}

CHECK_CASE("support: a chunk's exception leaves the parallel loop, which then works as before") {
  const int before = at::get_num_threads();
  at::set_num_threads(4);
  for (int i = 0; i < 200; ++i) {
    bool thrown = false;
    try {
      parallel_for(0, 100, 1, [&](int64_t first, int64_t) {
        if (first >= 50) throw std::runtime_error("chunk");
      });
    } catch (const std::runtime_error& error) {
      thrown = std::string(error.what()) == "chunk";
    }
    CHECK(thrown);
    check_covered(0, 50, 1);
  }
  at::set_num_threads(before);
}

CHECK_CASE("support: parallel loops nest, and several threads run theirs at once") {
  const int before = at::get_num_threads();
  std::vector<std::thread> threads;
  std::atomic<int64_t> total{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      at::set_num_threads(3);
      for (int i = 0; i < 500; ++i)
        parallel_for(0, 10, 1, [&](int64_t first, int64_t last) {
          for (int64_t j = first; j < last; ++j)
            parallel_for(0, 10, 1, [&](int64_t a, int64_t b) { total += b - a; });
        });
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(total == 4 * 500 * 100);
  at::set_num_threads(before);
}

}  // namespace
