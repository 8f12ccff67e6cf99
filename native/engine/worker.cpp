// A model's worker thread. libtorch's thread count is per thread (OpenMP's rule), so each worker
// applies the process-wide setting before every item of work.
#include "engine/worker.h"

#include <atomic>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "support/allocator.h"
#include "support/torch.h"

namespace cream {

namespace {

std::atomic<int> wanted_threads{0};

void apply_threads() {
  static const int own_choice = at::get_num_threads();
  const int wanted = wanted_threads.load(std::memory_order_relaxed);
  const int target = wanted > 0 ? wanted : own_choice;
  if (at::get_num_threads() != target) at::set_num_threads(target);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// libtorch reports a failed allocation as an ordinary c10::Error; only its text tells it apart.
Error from_torch(const c10::Error& error) {
  const std::string message = first_line(error.what_without_backtrace());
  const bool memory = message.find("DefaultCPUAllocator") != std::string::npos ||
                      message.find("out of memory") != std::string::npos;
  if (!memory)
    return Error(ErrorCode::internal,
                 "libtorch failed: " + message + ". This is a bug in cream-lm: please report it.");
  return Error(ErrorCode::out_of_memory, "There is not enough memory for this operation (" +
                                             message +
                                             "). Lower the batch (maxNumSeqs, maxNumBatchedTokens, "
                                             "microBatchTokens) or use a smaller model.");
}

std::optional<Error> run_guarded(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (...) {
    return to_error(std::current_exception());
  }
}

}  // namespace

void set_threads(int count) { wanted_threads.store(count, std::memory_order_relaxed); }

int threads() {
  const int wanted = wanted_threads.load(std::memory_order_relaxed);
  return wanted > 0 ? wanted : at::get_num_threads();
}

Error to_error(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error;
  } catch (const c10::Error& error) {
    return from_torch(error);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory,
                 "There is not enough memory for this operation. Lower the batch (maxNumSeqs, "
                 "maxNumBatchedTokens, microBatchTokens) or use a smaller model.");
  } catch (const std::exception& error) {
    return Error(ErrorCode::internal, "The engine failed: " + first_line(error.what()) +
                                          ". This is a bug in cream-lm: please report it.");
  } catch (...) {
    return Error(
        ErrorCode::internal,
        "The engine failed for an unknown reason. This is a bug in cream-lm: please report it.");
  }
}

Worker::Worker(Step step) : step_(std::move(step)) {
  try {
    use_caching_allocator();
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::out_of_memory, std::string("The system refused another thread: ") +
                                              error.what() +
                                              ". Dispose of models you no longer use.");
  }
}

void Worker::join() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::post(std::function<void()> work, Done done) {
  push({std::move(work), std::move(done)});
}

void Worker::post_joining(std::function<void()> begin, Done failed) {
  push({std::move(begin), std::move(failed), /*joins=*/true});
}

void Worker::push(Item item) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_)
      throw Error(ErrorCode::disposed, "The model was disposed of; load it again to go on.");
    queue_.push_back(std::move(item));
  }
  wake_.notify_one();
}

void Worker::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wake_.notify_one();
}

void Worker::stop() {
  // Destroyed outside the lock, because destructors of what the work owns may take it.
  std::deque<Item> dropped;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    dropped.swap(queue_);
  }
  wake_.notify_one();
}

// The next item to run. Between two steps this is only an item that joins them; otherwise it is the
// first item of the queue, which the call waits for. Empty if there is none.
std::optional<Worker::Item> Worker::next(bool stepping) {
  std::unique_lock lock(mutex_);
  if (!stepping) wake_.wait(lock, [this] { return closed_ || !queue_.empty(); });
  if (queue_.empty() || (stepping && !queue_.front().joins)) return std::nullopt;
  Item item = std::move(queue_.front());
  queue_.pop_front();
  return item;
}

void Worker::run() {
  for (bool stepping = false;;) {
    std::optional<Item> item = next(stepping);
    if (!item && !stepping) return;  // closed
    apply_threads();
    if (!item) {
      stepping = step_();
      continue;
    }
    const std::optional<Error> error = run_guarded(item->work);
    item->work = nullptr;  // frees what it captured before done() is called
    stepping |= item->joins;
    if (!item->joins || error) item->done(error ? &*error : nullptr);
  }
}

}  // namespace cream
