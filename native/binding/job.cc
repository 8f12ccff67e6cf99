#include "binding/job.h"

#include <new>

#include <optional>

namespace cream::binding {

namespace {

Napi::Object error_object(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Object::New(env);
  object["code"] = error_code_name(error.code());
  object["message"] = error.what();
  return object;
}

}  // namespace

Inbox::Inbox(Napi::Env env) : env_(env) {
  const napi_value name = Napi::String::New(env, "cream-lm");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, &Inbox::drain, &wake_);
  if (status != napi_ok) throw Napi::Error::New(env, "cream-lm could not connect its threads to the event loop.");
  napi_unref_threadsafe_function(env, wake_);
}

void Inbox::post(Message message) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  messages_.push_back(std::move(message));
  if (woken_) return;
  woken_ = napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

void Inbox::drain(napi_env raw_env, napi_value, void* context, void*) {
  if (raw_env == nullptr) return;  // the environment is going; close() has been called or will be
  const Napi::Env env(raw_env);
  Inbox& inbox = *static_cast<Inbox*>(context);
  std::deque<Message> messages;
  {
    const std::lock_guard lock(inbox.mutex_);
    messages.swap(inbox.messages_);
    inbox.woken_ = false;
  }
  for (Message& message : messages) {
    const Napi::HandleScope scope(env);
    try {
      message(env);
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());  // as if a timer's callback had thrown
    }
  }
}

void Inbox::retain() {
  if (retained_++ == 0) napi_ref_threadsafe_function(env_, wake_);
}

void Inbox::release() {
  if (--retained_ == 0) napi_unref_threadsafe_function(env_, wake_);
}

void Inbox::close() {
  std::deque<Message> dropped;
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  dropped.swap(messages_);
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
}

// The hook is added after the inbox's thread-safe function, and hooks run in reverse: workers are joined before it goes.
Environment::Environment(Napi::Env env) : inbox(std::make_shared<Inbox>(env)) {
  napi_add_env_cleanup_hook(env, &Environment::teardown, this);
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::teardown(void* self) {
  Environment& environment = *static_cast<Environment*>(self);
  environment.inbox->close();
  for (const auto& job : environment.jobs) {
    job->cancel_.request();
    job->engine_->stop();
  }
  for (const auto& job : environment.jobs) job->engine_->join();
  environment.jobs.clear();
}

Job::Job(Napi::Env env, EnginePtr engine, Result result, const std::vector<Napi::Value>& callbacks)
    : inbox_(Environment::of(env).inbox), engine_(std::move(engine)), deferred_(env), result_(std::move(result)) {
  for (const Napi::Value& callback : callbacks) {
    wanted_.push_back(callback.IsFunction());
    callbacks_.push_back(callback.IsFunction() ? Napi::Persistent(callback.As<Napi::Function>()) : Napi::FunctionReference());
  }
}

Napi::Object Job::start(Napi::Env env, EnginePtr engine, Work work, Result result, const std::vector<Napi::Value>& callbacks) {
  Engine& running = *engine;
  const std::shared_ptr<Job> job(new Job(env, std::move(engine), std::move(result), callbacks));

  const auto skipped = std::make_shared<bool>(false);
  running.post(
      [job, skipped, work = std::move(work)] {
        *skipped = job->claimed_.exchange(true);
        if (!*skipped) work(*job);
      },
      [job, skipped](const Error* error) {
        if (*skipped) return;
        std::optional<Error> copy;
        if (error) copy = *error;
        job->inbox_->post([job, copy = std::move(copy)](Napi::Env env) { job->settle(env, copy ? &*copy : nullptr); });
      });
  Environment::of(env).jobs.insert(job);
  job->inbox_->retain();

  Napi::Object handle = Napi::Object::New(env);
  handle["promise"] = job->deferred_.Promise();
  handle["cancel"] = Napi::Function::New(env, [weak = std::weak_ptr<Job>(job)](const Napi::CallbackInfo& info) {
    if (const auto job = weak.lock()) job->request_cancel(info.Env());
  });
  return handle;
}

void Job::request_cancel(Napi::Env env) {
  cancel_.request();
  if (claimed_.exchange(true)) return;  // the work has begun and will notice
  const Error aborted(ErrorCode::aborted, "The operation was aborted.");
  settle(env, &aborted);
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
    // Read when it is delivered, so that a busy event loop gets one report and not a thousand.
    job->emit(callback, [job](Napi::Env env, Napi::Function function) {
      Progress seen;
      {
        const std::lock_guard lock(job->progress_mutex_);
        seen = job->latest_;
        job->progress_posted_ = false;
      }
      const auto number = [&](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
      function.Call({number(seen.done), number(seen.total), number(seen.tokens)});
    });
  };
}

void Job::settle(Napi::Env env, const Error* error) {
  const std::shared_ptr<Job> self = shared_from_this();
  Environment::of(env).jobs.erase(self);
  inbox_->release();
  if (error) {
    deferred_.Reject(error_object(env, *error));
  } else {
    try {
      deferred_.Resolve(result_(env));
    } catch (const Napi::Error& failure) {
      deferred_.Reject(failure.Value());
    }
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
    napi_throw(env, error_object(env, Error(ErrorCode::out_of_memory, "There is not enough memory for the arguments of this call. Pass fewer prompts, groups or pairs at once.")));
  }
  return env.Undefined();
}

}  // namespace cream::binding
