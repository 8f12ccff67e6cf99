#include "binding/convert.h"
#include "binding/model.h"

namespace cream::binding {

Napi::Value ModelHandle::score(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto request = std::make_shared<ScoringRequest>(to_scoring_request(info[0]));
    auto result = std::make_shared<ScoringResult>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, request, result](Job& job) {
          *result = engine->score(*request, job.progress(0), job.cancel());
        },
        [result](Napi::Env env) { return from_scoring_result(env, *result); }, {info[1]});
  });
}

Napi::Value ModelHandle::logits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Tokens tokens = to_tokens(info[0], "tokens");
    auto result = std::make_shared<std::vector<float>>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_, [engine, tokens, result](Job&) { *result = engine->logits(tokens); },
        [result](Napi::Env env) { return from_floats(env, *result); });
  });
}

Napi::Value ModelHandle::classify(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto request = std::make_shared<ClassificationRequest>(to_classification_request(info[0]));
    auto result = std::make_shared<std::vector<float>>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, request, result](Job& job) { *result = engine->classify(*request, job.cancel()); },
        [result](Napi::Env env) { return from_floats(env, *result); });
  });
}

}  // namespace cream::binding
