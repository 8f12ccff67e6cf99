// One thread and its queue: posted work runs there one item at a time, in order. This is the only
// place that turns exceptions of posted work into cream::Error.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "support/error.h"

namespace cream {

class Worker {
 public:
  // Called on the worker thread after the work; a null error means success. Not called for work
  // that stop() dropped.
  using Done = std::function<void(const Error* error)>;

  Worker();  // starts the thread
  // Posted work must not own its worker: a thread cannot join itself.
  ~Worker() { join(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Any thread. Throws Error{disposed} once closed.
  void post(std::function<void()> work, Done done);
  void close();  // any thread: accepts no more work; queued work still runs
  void stop();   // any thread: closes, and drops work that has not begun
  void join();   // the owner's thread only: stops, and waits for the running work

 private:
  struct Item {
    std::function<void()> work;
    Done done;
  };
  void run();

  std::mutex mutex_;  // guards the next three
  std::condition_variable wake_;
  std::deque<Item> queue_;
  bool closed_ = false;
  std::thread thread_;  // last member: it reads the others
};

// Threads per computation, for work that begins after the call, on every worker of the process; 0:
// libtorch's default.
void set_threads(int count);
int threads();

}  // namespace cream
