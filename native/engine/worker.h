// One thread and its queue: what is posted runs there, one at a time, in the order it was posted.
// Every exception that leaves posted work becomes a cream::Error here, and only here.
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
  // Called on the worker thread after the work; null: it succeeded. Not called for work that stop()
  // dropped.
  using Done = std::function<void(const Error* error)>;

  Worker();              // starts the thread
  ~Worker() { join(); }  // so posted work must not own its worker: a thread cannot join itself
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Any thread. Throws Error{disposed} once closed.
  void post(std::function<void()> work, Done done);
  void close();  // any thread: nothing more is taken in; what is queued still runs
  void stop();   // any thread: close, and drop what has not begun
  void join();   // stop, and wait for what runs; the owner's thread only

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
  std::thread thread_;  // last: it reads the others
};

// Threads that one computation uses, for work that begins from now on, on every worker of the
// process; 0: libtorch's own choice.
void set_threads(int count);
int threads();

}  // namespace cream
