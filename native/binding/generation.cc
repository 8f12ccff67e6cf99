#include "binding/convert.h"
#include "binding/model.h"

namespace cream::binding {

Napi::Value ModelHandle::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    enum { completion_callback, tokens_callback, progress_callback };
    auto request = std::make_shared<GenerationRequest>(to_generation_request(info[0]));
    auto stats = std::make_shared<GenerationStats>();
    Engine* const engine = engine_.get();
    const auto work = [engine, request, stats](Job& job) {
      request->stream_tokens = job.wants(tokens_callback);
      const auto on_completion = [&job](GeneratedCompletion&& completion) {
        job.emit(completion_callback,
                 [completion = std::move(completion)](Napi::Env env, Napi::Function call) {
                   call.Call({from_completion(env, completion)});
                 });
      };
      const auto on_tokens = [&job](std::vector<StreamedToken>&& tokens) {
        job.emit(tokens_callback, [tokens = std::move(tokens)](Napi::Env env, Napi::Function call) {
          call.Call({from_streamed(env, tokens)});
        });
      };
      *stats = engine->generate(*request, on_completion, on_tokens, job.progress(progress_callback),
                                job.cancel());
    };
    return Job::start(info.Env(), engine_, work,
                      [stats](Napi::Env env) { return from_stats(env, *stats); },
                      {info[1], info[2], info[3]});
  });
}

}  // namespace cream::binding
