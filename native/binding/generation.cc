#include "binding/convert.h"
#include "binding/model.h"

namespace cream::binding {

namespace {

enum { completion_callback, tokens_callback, progress_callback };

// The callbacks of a request in progress. They pass every result on to JavaScript and keep the job
// alive.
GenerationCallbacks callbacks_of(const std::shared_ptr<Job>& job,
                                 const std::shared_ptr<GenerationEnd>& result) {
  GenerationCallbacks callbacks;
  callbacks.on_completion = [job](GeneratedCompletion&& completion) {
    job->emit(completion_callback,
              [completion = std::move(completion)](Napi::Env env, Napi::Function call) {
                call.Call({from_completion(env, completion)});
              });
  };
  callbacks.on_tokens = [job](std::vector<StreamedToken>&& tokens) {
    job->emit(tokens_callback, [tokens = std::move(tokens)](Napi::Env env, Napi::Function call) {
      call.Call({from_streamed(env, tokens)});
    });
  };
  callbacks.on_progress = job->progress(progress_callback);
  callbacks.on_end = [job, result](const GenerationEnd& end) {
    *result = end;
    std::optional<Error> error;
    if (end.error) error = to_error(end.error);
    job->end(error ? &*error : nullptr);
  };
  return callbacks;
}

}  // namespace

Napi::Value ModelHandle::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto request =
        std::make_shared<GenerationRequest>(to_generation_request(info[0], token_bytes_));
    auto result = std::make_shared<GenerationEnd>();
    Engine* const engine = engine_.get();
    const auto begin = [engine, request, result](const std::shared_ptr<Job>& job) {
      request->stream_tokens = job->wants(tokens_callback);
      engine->begin_generation(*request, callbacks_of(job, result), {job, &job->cancel()});
    };
    return Job::start_joining(info.Env(), engine_, begin,
                              [result](Napi::Env env) { return from_generation_end(env, *result); },
                              {info[1], info[2], info[3]});
  });
}

}  // namespace cream::binding
