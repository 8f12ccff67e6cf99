// The only asynchronous path: plain arguments → work on an engine's worker → a promise settled on
// the JS thread.
//
// Threads: a job's JavaScript parts (promise, callbacks) are created, used and released on the JS
// thread only; the worker sees only the plain parts. The worker reaches JavaScript through the
// environment's Inbox, never directly.
//
// Ownership: the environment's registry owns every unsettled job, and the job owns its engine.
// Garbage-collecting the handle of a model with running work therefore frees nothing, and the last
// reference to an engine is always dropped on the JS thread.
//
// Teardown (process exit, a terminated worker_thread): the inbox closes, every job is cancelled,
// the workers are joined, and only then are the jobs destroyed. Their promises are never settled.
#pragma once

#include <napi.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <vector>

#include "engine/engine.h"

namespace cream::binding {

using EnginePtr = std::shared_ptr<Engine>;

class Job;

// Passes functions and ended jobs from any thread to one environment's JS thread. Functions run in
// the order they were posted; ended jobs are settled after them.
class Inbox {
 public:
  using Message = std::function<void(Napi::Env)>;

  explicit Inbox(Napi::Env env);
  void post(Message message);  // any thread; dropped once closed
  // Worker thread, once per job, after its work. Allocates nothing, so that a worker can report
  // that memory ran out.
  void ended(std::shared_ptr<Job> job) noexcept;

  // JS thread.
  // Called once per started job: keeps the event loop alive and reserves memory for ended().
  void retain();
  void release();
  void close();

 private:
  static void drain(napi_env env, napi_value callback, void* context, void* data);

  napi_env env_;
  napi_threadsafe_function wake_ = nullptr;
  int retained_ = 0;
  void wake();  // with the mutex held
  Message next_message();
  std::shared_ptr<Job> next_end();

  std::mutex mutex_;  // guards the next four
  std::deque<Message> messages_;
  std::vector<std::shared_ptr<Job>> ended_;  // capacity for every started job
  bool woken_ = false;
  bool closed_ = false;
};

// The instance data of one environment (main thread or worker_thread). JS thread only.
class Environment {
 public:
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env);

  const std::shared_ptr<Inbox> inbox;
  std::unordered_set<std::shared_ptr<Job>> jobs;  // unsettled
  Napi::FunctionReference model_class, trainer_class;

 private:
  static void teardown(void* self);
};

class Job : public std::enable_shared_from_this<Job> {
 public:
  using Work = std::function<void(Job&)>;  // worker thread; throws to reject
  // Worker thread. Begins work that goes on in steps and calls end() later, or throws to reject.
  using Begin = std::function<void(const std::shared_ptr<Job>&)>;
  using Result = std::function<Napi::Value(Napi::Env)>;  // JS thread; makes the promise's value
  using Call = std::function<void(Napi::Env, Napi::Function)>;  // JS thread; calls a callback

  // Posts `work` and returns {promise, cancel()}. The promise rejects with {code, message}; a
  // cancel before the work has begun rejects at once. `callbacks` are JS functions or undefined,
  // addressed by index below. Throws the same error synchronously where the engine is closed.
  static Napi::Object start(Napi::Env env, EnginePtr engine, Work work, Result result,
                            const std::vector<Napi::Value>& callbacks = {});
  // start() for work that joins the generations in progress (Engine::post_joining).
  static Napi::Object start_joining(Napi::Env env, EnginePtr engine, Begin begin, Result result,
                                    const std::vector<Napi::Value>& callbacks);

  // Worker thread.
  void end(const Error* error);  // of work that has begun, once; null: success
  const Cancel& cancel() const { return cancel_; }
  bool wants(size_t callback) const { return wanted_[callback]; }
  void emit(size_t callback, Call call);
  // Calls back with (done, total, tokens). A report not yet delivered is replaced by the next one.
  OnProgress progress(size_t callback);

 private:
  friend class Environment;
  friend class Inbox;
  Job(Napi::Env env, EnginePtr engine, Result result, const std::vector<Napi::Value>& callbacks);
  // Hands the job to the engine by `post`; returns {promise, cancel()}.
  static Napi::Object start(Napi::Env env, const std::shared_ptr<Job>& job,
                            const std::function<void(Engine&)>& post);
  bool claim() { return !claimed_.exchange(true); }  // false: cancelled before it began
  void request_cancel(Napi::Env env);
  void settle(Napi::Env env);  // with the worker's outcome
  void settle(Napi::Env env, const Error* error);

  std::optional<Error> error_;  // written by the worker before ended(), read by the JS thread after
  Cancel cancel_;
  // Set by the worker that begins the work or by an earlier cancel, whichever is first.
  std::atomic<bool> claimed_{false};
  const std::shared_ptr<Inbox> inbox_;
  std::vector<bool> wanted_;  // constant once started

  std::mutex progress_mutex_;  // guards the next two
  Progress latest_;
  bool progress_posted_ = false;

  // JS thread; released by settle().
  EnginePtr engine_;
  Napi::Promise::Deferred deferred_;
  std::vector<Napi::FunctionReference> callbacks_;
  Result result_;
};

// Runs `body` on the JS thread; a cream::Error becomes a thrown {code, message}.
Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body);

}  // namespace cream::binding
