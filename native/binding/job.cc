#include "binding/job.h"

#include <new>

#include "parallel/ranks.h"

namespace cream::binding {

namespace {

Napi::Object error_object(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Object::New(env);
  object["code"] = error_code_name(error.code());
  object["message"] = error.what();
  return object;
}

Error out_of_memory() {
  return Error(ErrorCode::out_of_memory,
               "There is not enough memory to hand over a result. Ask for fewer completions or "
               "sequences at once.");
}

}  // namespace

Inbox::Inbox(Napi::Env env) : env_(env) {
  const napi_value name = Napi::String::New(env, "cream-lm");
  const napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, &Inbox::drain, &wake_);
  if (status != napi_ok)
    throw Napi::Error::New(env, "cream-lm could not connect its threads to the event loop.");
  napi_unref_threadsafe_function(env, wake_);
}

void Inbox::post(Message message) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  messages_.push_back(std::move(message));
  wake();
}

void Inbox::wake() {
  if (woken_) return;
  woken_ = napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

void Inbox::ended(std::shared_ptr<Job> job) noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  ended_.push_back(std::move(job));
  wake();
}

void Inbox::drain(napi_env raw_env, napi_value, void* context, void*) {
  if (raw_env == nullptr) return;  // the environment is shutting down; close() handles it
  const Napi::Env env(raw_env);
  Inbox& inbox = *static_cast<Inbox*>(context);
  // Handles the current messages and ended jobs, one at a time, so that nothing is allocated and an
  // exception loses no other item. A job's end comes after its messages.
  size_t messages = 0, ends = 0;
  {
    const std::lock_guard lock(inbox.mutex_);
    inbox.woken_ = false;
    messages = inbox.messages_.size();
    ends = inbox.ended_.size();
  }
  for (size_t i = 0; i < messages + ends; ++i) {
    const Napi::HandleScope scope(env);
    try {
      if (i < messages) {
        if (const Message message = inbox.next_message()) message(env);
      } else if (const std::shared_ptr<Job> job = inbox.next_end()) {
        job->settle(env);
      }
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());  // like an exception in a timer's callback
    } catch (const std::bad_alloc&) {
      napi_fatal_exception(env, error_object(env, out_of_memory()));
    }
  }
}

Inbox::Message Inbox::next_message() {
  const std::lock_guard lock(mutex_);
  if (messages_.empty())
    return {};  // the previous message called process.exit(), which closed the inbox
  Message message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

std::shared_ptr<Job> Inbox::next_end() {
  const std::lock_guard lock(mutex_);
  if (ended_.empty()) return {};
  std::shared_ptr<Job> job = std::move(ended_.front());
  ended_.erase(ended_.begin());
  return job;
}

void Inbox::retain() {
  {
    const std::lock_guard lock(mutex_);
    ended_.reserve(static_cast<size_t>(retained_) + 1);
  }
  if (retained_++ == 0) napi_ref_threadsafe_function(env_, wake_);
}

void Inbox::release() {
  if (--retained_ == 0) napi_unref_threadsafe_function(env_, wake_);
}

void Inbox::close() {
  std::deque<Message> dropped;
  std::vector<std::shared_ptr<Job>> ended;
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  dropped.swap(messages_);
  ended.swap(ended_);
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
}

// Cleanup hooks run in reverse order. This one is added after the inbox's thread-safe function, so
// workers are joined before that is destroyed.
Environment::Environment(Napi::Env env) : inbox(std::make_shared<Inbox>(env)) {
  napi_add_env_cleanup_hook(env, &Environment::teardown, this);
  // process.exit() runs no cleanup hooks and would destroy libtorch's statics while workers use
  // them, so the exit event also runs the teardown.
  const Napi::Object process = env.Global().Get("process").As<Napi::Object>();
  const auto stop = [](const Napi::CallbackInfo& info) { teardown(&Environment::of(info.Env())); };
  process.Get("on").As<Napi::Function>().Call(
      process, {Napi::String::New(env, "exit"), Napi::Function::New(env, stop)});
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::teardown(void* self) {
  Environment& environment = *static_cast<Environment*>(self);
  environment.inbox->close();
  // The watch must not take what follows for the end of another rank.
  if (const auto ranks = current_ranks()) ranks->leave();
  for (const auto& job : environment.jobs) {
    job->cancel_.request();
    job->engine_->stop();
  }
  for (const auto& job : environment.jobs) job->engine_->join();
  environment.jobs.clear();
}

Job::Job(Napi::Env env, EnginePtr engine, Result result, const std::vector<Napi::Value>& callbacks)
    : inbox_(Environment::of(env).inbox),
      engine_(std::move(engine)),
      deferred_(env),
      result_(std::move(result)) {
  for (const Napi::Value& callback : callbacks) {
    wanted_.push_back(callback.IsFunction());
    callbacks_.push_back(callback.IsFunction() ? Napi::Persistent(callback.As<Napi::Function>())
                                               : Napi::FunctionReference());
  }
}

Napi::Object Job::start(Napi::Env env, EnginePtr engine, Work work, Result result,
                        const std::vector<Napi::Value>& callbacks) {
  const std::shared_ptr<Job> job(new Job(env, std::move(engine), std::move(result), callbacks));
  return start(env, job, [&](Engine& running) {
    const auto skipped = std::make_shared<bool>(false);
    running.post(
        [job, skipped, work = std::move(work)] {
          *skipped = !job->claim();
          if (!*skipped) work(*job);
        },
        [job, skipped](const Error* error) {
          if (!*skipped) job->end(error);
        });
  });
}

Napi::Object Job::start_joining(Napi::Env env, EnginePtr engine, Begin begin, Result result,
                                const std::vector<Napi::Value>& callbacks) {
  const std::shared_ptr<Job> job(new Job(env, std::move(engine), std::move(result), callbacks));
  return start(env, job, [&](Engine& running) {
    running.post_joining(
        [job, begin = std::move(begin)] {
          if (job->claim()) begin(job);
        },
        [job](const Error* error) { job->end(error); });
  });
}

Napi::Object Job::start(Napi::Env env, const std::shared_ptr<Job>& job,
                        const std::function<void(Engine&)>& post) {
  Environment::of(env).jobs.insert(job);
  job->inbox_->retain();  // before the worker can call ended()
  try {
    post(*job->engine_);
  } catch (...) {  // the engine is closed, or memory ran out
    Environment::of(env).jobs.erase(job);
    job->inbox_->release();
    throw;
  }

  Napi::Object handle = Napi::Object::New(env);
  handle["promise"] = job->deferred_.Promise();
  handle["cancel"] =
      Napi::Function::New(env, [weak = std::weak_ptr<Job>(job)](const Napi::CallbackInfo& info) {
        if (const auto job = weak.lock()) job->request_cancel(info.Env());
      });
  return handle;
}

void Job::request_cancel(Napi::Env env) {
  cancel_.request();
  if (!claim()) return;  // the work has begun and checks cancel_ itself
  const Error aborted(ErrorCode::aborted, "The operation was aborted.");
  settle(env, &aborted);
}

void Job::end(const Error* error) {
  if (error) error_ = *error;  // its text is shared, not copied
  inbox_->ended(shared_from_this());
}

void Job::emit(size_t callback, Call call) {
  if (!wanted_[callback]) return;
  inbox_->post([job = shared_from_this(), callback, call = std::move(call)](Napi::Env env) {
    if (callback < job->callbacks_.size()) call(env, job->callbacks_[callback].Value());
  });
}

OnProgress Job::progress(size_t callback) {
  if (!wanted_[callback]) return {};
  return [job = this, callback](const Progress& progress) {
    const std::lock_guard lock(job->progress_mutex_);
    job->latest_ = progress;
    if (job->progress_posted_) return;
    job->progress_posted_ = true;
    // The report is read on delivery, so a busy event loop gets only the latest one.
    job->emit(callback, [job](Napi::Env env, Napi::Function function) {
      Progress seen;
      {
        const std::lock_guard lock(job->progress_mutex_);
        seen = job->latest_;
        job->progress_posted_ = false;
      }
      const auto number = [&](uint64_t value) {
        return Napi::Number::New(env, static_cast<double>(value));
      };
      function.Call({number(seen.done), number(seen.total), number(seen.tokens)});
    });
  };
}

void Job::settle(Napi::Env env) { settle(env, error_ ? &*error_ : nullptr); }

void Job::settle(Napi::Env env, const Error* error) {
  const std::shared_ptr<Job> self = shared_from_this();
  Environment::of(env).jobs.erase(self);
  inbox_->release();
  try {
    error ? deferred_.Reject(error_object(env, *error)) : deferred_.Resolve(result_(env));
  } catch (const Napi::Error& failure) {
    deferred_.Reject(failure.Value());
  } catch (const std::bad_alloc&) {
    deferred_.Reject(error_object(env, out_of_memory()));
  }
  callbacks_.clear();
  result_ = nullptr;
  engine_.reset();
}

Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body) {
  try {
    return body();
  } catch (const Error& error) {
    napi_throw(env, error_object(env, error));
  } catch (const std::bad_alloc&) {
    napi_throw(env, error_object(env, Error(ErrorCode::out_of_memory,
                                            "There is not enough memory for the arguments of this "
                                            "call. Pass fewer prompts, groups or pairs at once.")));
  }
  return env.Undefined();
}

}  // namespace cream::binding
