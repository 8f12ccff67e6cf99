// One thread and its queue: posted work runs there one item at a time, in order. Joining work runs
// in steps: it begins in its turn, and more joining work may begin between two steps. All other
// work waits until the steps have ended, and work posted after it waits for it. This is the only
// place that turns exceptions of posted work into cream::Error.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "support/error.h"

namespace cream {

class Worker {
 public:
  // Called on the worker thread after the work; a null error means success. Not called for work
  // that stop() dropped.
  using Done = std::function<void(const Error* error)>;

  // One step of the work that join() has begun; false once none is left. Must not throw.
  using Step = std::function<bool()>;

  explicit Worker(Step step = {});  // starts the thread
  // Posted work must not own its worker: a thread cannot join itself.
  ~Worker() { join(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Any thread. Throws Error{disposed} once closed.
  void post(std::function<void()> work, Done done);
  // Any thread. `begin` adds to the work of Step. `failed` is called only if `begin` throws.
  // Throws Error{disposed} once closed.
  void post_joining(std::function<void()> begin, Done failed);
  void close();  // any thread: accepts no more work; queued work still runs
  void stop();   // any thread: closes, and drops work that has not begun
  void join();   // the owner's thread only: stops, and waits for the running work and its steps

 private:
  struct Item {
    std::function<void()> work;
    Done done;
    bool joins = false;
  };
  void push(Item item);
  std::optional<Item> next(bool stepping);
  void run();

  const Step step_;

  std::mutex mutex_;  // guards the next three
  std::condition_variable wake_;
  std::deque<Item> queue_;
  bool closed_ = false;
  std::thread thread_;  // last member: it reads the others
};

// The Error that an exception of posted work is reported as.
Error to_error(const std::exception_ptr& exception);

// Threads per computation, for work that begins after the call, on every worker of the process; 0:
// libtorch's default.
void set_threads(int count);
int threads();

}  // namespace cream
