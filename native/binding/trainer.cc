#include <new>

#include "binding/convert.h"
#include "binding/model.h"

namespace cream::binding {

Napi::Value ModelHandle::create_trainer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const TrainerParams params = to_trainer_params(info[0]);
    auto number = std::make_shared<uint64_t>(0);
    Engine* const engine = engine_.get();
    return Job::start(
        info.Env(), engine_,
        [engine, params, number](Job& job) {
          *number = engine->start_trainer(params, job.cancel());
        },
        [owner = engine_, number](Napi::Env env) {
          return TrainerHandle::create(env, {owner, *number});
        });
  });
}

Napi::Function TrainerHandle::define(Napi::Env env) {
  return DefineClass(env, "Trainer",
                     {
                         InstanceMethod<&TrainerHandle::preference_step>("preferenceStep"),
                         InstanceMethod<&TrainerHandle::sft_step>("sftStep"),
                         InstanceMethod<&TrainerHandle::save_state>("saveState"),
                         InstanceMethod<&TrainerHandle::load_state>("loadState"),
                         InstanceMethod<&TrainerHandle::gather_weights>("gatherWeights"),
                         InstanceMethod<&TrainerHandle::dispose>("dispose"),
                     });
}

Napi::Value TrainerHandle::create(Napi::Env env, Seed seed) {
  return Environment::of(env).trainer_class.New({Napi::External<Seed>::New(env, &seed)});
}

TrainerHandle::TrainerHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<TrainerHandle>(info) {
  if (!info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "[binding] a trainer is made by its model.");
  seed_ = *info[0].As<Napi::External<Seed>>().Data();
}

TrainerHandle::~TrainerHandle() {
  if (!seed_.engine) return;
  try {
    Engine* const engine = seed_.engine.get();
    engine->post([engine, number = seed_.number] { engine->end_trainer(number); },
                 [](const Error*) {});
  } catch (const Error&) {
    // The model was disposed of, and its trainer with it.
  } catch (const std::bad_alloc&) {
    // It ends with its model.
  }
}

Napi::Value TrainerHandle::preference_step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto pairs = std::make_shared<std::vector<PreferencePair>>(to_pairs(info[0]));
    auto metrics = std::make_shared<StepMetrics>();
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number, pairs, metrics](Job& job) {
          *metrics = engine->preference_step(number, *pairs, job.cancel());
        },
        [metrics](Napi::Env env) { return from_metrics(env, *metrics); });
  });
}

Napi::Value TrainerHandle::sft_step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto examples = std::make_shared<std::vector<SftExample>>(to_examples(info[0]));
    auto metrics = std::make_shared<StepMetrics>();
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number, examples, metrics](Job& job) {
          *metrics = engine->sft_step(number, *examples, job.cancel());
        },
        [metrics](Napi::Env env) { return from_metrics(env, *metrics); });
  });
}

Napi::Value TrainerHandle::save_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = info[0].As<Napi::String>();
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number, path](Job&) { engine->save_trainer_state(number, path); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value TrainerHandle::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto given = info[0].As<Napi::Array>();
    std::vector<std::string> paths;
    for (uint32_t i = 0; i < given.Length(); ++i) paths.push_back(given.Get(i).ToString());
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number, paths](Job& job) {
          engine->load_trainer_state(number, paths, job.cancel());
        },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value TrainerHandle::gather_weights(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number](Job&) { engine->gather_weights(number); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value TrainerHandle::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const bool keep = info[0].ToBoolean();
    Engine* const engine = seed_.engine.get();
    return Job::start(
        info.Env(), seed_.engine,
        [engine, number = seed_.number, keep](Job&) { engine->end_trainer(number, keep); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

}  // namespace cream::binding
