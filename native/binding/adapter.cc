#include "binding/convert.h"
#include "binding/model.h"

namespace cream::binding {

Napi::Value ModelHandle::add_adapter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto params = std::make_shared<LoraParams>(to_lora_params(info[0]));
    const uint64_t seed = to_key64(info[1], "seed");
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, params, seed](Job&) { *params = engine->add_adapter(*params, seed); },
        [params](Napi::Env env) { return from_lora_params(env, *params); });
  });
}

Napi::Value ModelHandle::load_adapter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string directory = info[0].As<Napi::String>();
    auto params = std::make_shared<LoraParams>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, directory, params](Job&) { *params = engine->load_adapter(directory); },
        [params](Napi::Env env) { return from_lora_params(env, *params); });
  });
}

Napi::Value ModelHandle::save_adapter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string directory = info[0].As<Napi::String>(), base = info[2].As<Napi::String>();
    const DType dtype = to_dtype(info[1]);
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, directory, dtype, base](Job&) { engine->save_adapter(directory, dtype, base); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value ModelHandle::merge(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_, [engine](Job& job) { engine->merge_adapter(job.cancel()); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

}  // namespace cream::binding
