#include "support/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace cream {
namespace {

// A chunk is 1/kPartOfRest of a thread's share of the remaining indices, so the last chunks are
// small and the threads end together even if one starts late. It has at least 1/kPartOfAll of a
// thread's share of all indices.
constexpr int64_t kPartOfRest = 2, kPartOfAll = 16;
// Polls before an idle thread goes to sleep: about 50 µs, longer than the gap between two loops of
// one forward pass.
constexpr int kPolls = 1500;

void pause() {
#ifdef __x86_64__
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

struct Job {
  detail::ChunkBody call = nullptr;
  void* body = nullptr;
  int64_t end = 0, least = 1, threads = 1;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;

  void work() {
    int64_t first = next.load(std::memory_order_relaxed);
    while (first < end) {
      const int64_t last =
          std::min(end, first + std::max(least, (end - first) / (kPartOfRest * threads)));
      if (!next.compare_exchange_weak(first, last, std::memory_order_relaxed)) continue;
      try {
        call(body, first, last);
      } catch (...) {
        next.store(end, std::memory_order_relaxed);
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
      first = next.load(std::memory_order_relaxed);
    }
  }
};

// Threads that live as long as the process and run one job at a time. `state_` packs the job's
// number, its maximum of helpers, whether it is open for joining, and how many have joined.
class Pool {
 public:
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: its threads outlive every static object
    return *pool;
  }

  bool take() { return !busy_.test_and_set(std::memory_order_acquire); }
  void give() { busy_.clear(std::memory_order_release); }
  Job& job() { return job_; }

  void run(int threads) {
    while (started_ < threads - 1) {
      std::thread([this] { serve(); }).detach();
      ++started_;
    }
    job_.error = nullptr;
    state_.store(((state_.load(std::memory_order_relaxed) >> kNumberShift) + 1) << kNumberShift |
                     kOpen | static_cast<uint64_t>(threads - 1) << kHelpersShift,
                 std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      bell_.fetch_add(1, std::memory_order_seq_cst);
      bell_.notify_all();
    }
    job_.work();
    state_.fetch_and(~kOpen, std::memory_order_seq_cst);
    for (int polls = 0; (state_.load(std::memory_order_acquire) & kJoined) != 0; ++polls)
      polls < kPolls ? pause() : std::this_thread::yield();
    if (job_.error) std::rethrow_exception(std::exchange(job_.error, nullptr));
  }

 private:
  static constexpr uint64_t kJoined = 0x7fff, kOpen = 0x8000;
  static constexpr int kHelpersShift = 16, kNumberShift = 32;

  void serve() {
    uint64_t last = 0;
    for (int polls = 0;;) {
      if (join(last)) {
        inside_ = true;
        job_.work();
        inside_ = false;
        state_.fetch_sub(1, std::memory_order_release);
        polls = 0;
      } else if (++polls < kPolls) {
        pause();
      } else {
        const uint32_t heard = bell_.load(std::memory_order_seq_cst);
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        if (!waiting(last)) bell_.wait(heard, std::memory_order_seq_cst);
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
        polls = 0;
      }
    }
  }

  bool waiting(uint64_t last) const {
    const uint64_t state = state_.load(std::memory_order_seq_cst);
    return (state & kOpen) != 0 && state >> kNumberShift != last;
  }

  bool join(uint64_t& last) {
    uint64_t state = state_.load(std::memory_order_acquire);
    if ((state & kOpen) == 0 || state >> kNumberShift == last) return false;
    if ((state & kJoined) >= (state >> kHelpersShift & 0xffff)) {
      last = state >> kNumberShift;
      return false;
    }
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) return false;
    last = state >> kNumberShift;
    return true;
  }

  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int> sleeping_{0};
  std::atomic<uint32_t> bell_{0};
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  int started_ = 0;  // threads started; guarded by busy_
  Job job_;

 public:
  static thread_local bool inside_;
};

thread_local bool Pool::inside_ = false;

}  // namespace

void detail::parallel_for(int64_t begin, int64_t end, int64_t grain, ChunkBody call, void* body) {
  if (begin >= end) return;
  const int64_t n = end - begin, threads = at::get_num_threads();
  Pool& pool = Pool::instance();
  if (n <= grain || threads <= 1 || Pool::inside_ || at::in_parallel_region() || !pool.take())
    return call(body, begin, end);
  struct Turn {
    explicit Turn(Pool& pool) : pool(pool) { Pool::inside_ = true; }
    ~Turn() {
      Pool::inside_ = false;
      pool.give();
    }
    Pool& pool;
  } turn(pool);
  Job& job = pool.job();
  job.call = call;
  job.body = body;
  job.next.store(begin, std::memory_order_relaxed);
  job.end = end;
  job.least = std::max(grain, n / (kPartOfAll * threads));
  job.threads = threads;
  pool.run(static_cast<int>(std::min<int64_t>(threads, (n + grain - 1) / grain)));
}

}  // namespace cream
