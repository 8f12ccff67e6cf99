#include "binding/model.h"

#include "binding/convert.h"
#include "binding/digest.h"

namespace cream::binding {

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(env, "Model",
                     {
                         InstanceMethod<&ModelHandle::load>("load"),
                         InstanceMethod<&ModelHandle::generate>("generate"),
                         InstanceMethod<&ModelHandle::score>("score"),
                         InstanceMethod<&ModelHandle::logits>("logits"),
                         InstanceMethod<&ModelHandle::classify>("classify"),
                         InstanceMethod<&ModelHandle::snapshot>("snapshot"),
                         InstanceMethod<&ModelHandle::save>("save"),
                         InstanceMethod<&ModelHandle::add_adapter>("addAdapter"),
                         InstanceMethod<&ModelHandle::load_adapter>("loadAdapter"),
                         InstanceMethod<&ModelHandle::save_adapter>("saveAdapter"),
                         InstanceMethod<&ModelHandle::merge>("merge"),
                         InstanceMethod<&ModelHandle::create_trainer>("createTrainer"),
                         InstanceMethod<&ModelHandle::offload>("offload"),
                         InstanceMethod<&ModelHandle::dispose>("dispose"),
                     });
}

ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelHandle>(info) {
  guarded(info.Env(), [&] {
    engine_ = info[0].IsExternal() ? *info[0].As<Napi::External<EnginePtr>>().Data()
                                   : std::make_shared<Engine>();
    return info.Env().Undefined();
  });
}

Napi::Value ModelHandle::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = info[0].As<Napi::String>();
    const DType dtype = to_dtype(info[1]);
    const std::string device = info[2].As<Napi::String>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, path, dtype, device](Job& job) {
          engine->load(path, dtype, device, job.cancel());
        },
        [engine](Napi::Env env) { return from_info(env, engine->info()); });
  });
}

Napi::Value ModelHandle::snapshot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    EnginePtr shared = engine_->snapshot(info[0].ToBoolean());
    // Keeps this engine alive until the snapshot is made, even if its handle is collected before.
    Job::start(info.Env(), engine_, [](Job&) {}, [](Napi::Env env) { return env.Undefined(); });
    return Environment::of(info.Env())
        .model_class.New({Napi::External<EnginePtr>::New(info.Env(), &shared)});
  });
}

Napi::Value ModelHandle::save(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string directory = info[0].As<Napi::String>();
    const DType dtype = to_dtype(info[1]);
    const std::string config_json = info[2].As<Napi::String>();
    auto saved = std::make_shared<std::vector<SavedFile>>();
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, directory, dtype, config_json, saved](Job& job) {
          *saved = engine->save(directory, dtype, config_json, job.cancel(), node_sha256());
        },
        [saved](Napi::Env env) { return from_saved_files(env, *saved); });
  });
}

Napi::Value ModelHandle::offload(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_, [engine](Job&) { engine->offload(); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value ModelHandle::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Engine* const engine = engine_.get();
    Napi::Object job = Job::start(
        info.Env(), engine_, [engine](Job&) { engine->unload(); },
        [](Napi::Env env) { return env.Undefined(); });
    engine->close();
    return job;
  });
}

}  // namespace cream::binding
