// The exported classes. A handle holds a reference to its engine and nothing else; all state is the
// engine's. JS thread.
#pragma once

#include <napi.h>

#include "binding/job.h"

namespace cream::binding {

class ModelHandle : public Napi::ObjectWrap<ModelHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelHandle(
      const Napi::CallbackInfo& info);  // new Model(): an engine without weights, for load()

 private:
  Napi::Value load(const Napi::CallbackInfo& info);  // (path, dtype) → job of the config
  Napi::Value generate(
      const Napi::CallbackInfo& info);  // (request, onCompletion, onTokens?, onProgress?) → job of
                                        // the stats: generation.cc
  Napi::Value score(
      const Napi::CallbackInfo& info);  // (request, onProgress?) → job of the result: scoring.cc
  Napi::Value logits(
      const Napi::CallbackInfo& info);  // (tokens) → job of a Float32Array: scoring.cc
  Napi::Value classify(
      const Napi::CallbackInfo& info);  // (request) → job of a Float32Array: scoring.cc
  Napi::Value snapshot(const Napi::CallbackInfo& info);  // (adapter) → Model
  Napi::Value save(const Napi::CallbackInfo& info);      // (directory, dtype, configJson) → job
  Napi::Value add_adapter(
      const Napi::CallbackInfo& info);  // (params, seed) → job of the params: adapter.cc
  Napi::Value load_adapter(
      const Napi::CallbackInfo& info);  // (directory) → job of the params: adapter.cc
  Napi::Value save_adapter(
      const Napi::CallbackInfo& info);  // (directory, dtype, baseModel) → job: adapter.cc
  Napi::Value merge(const Napi::CallbackInfo& info);  // () → job: adapter.cc
  Napi::Value create_trainer(
      const Napi::CallbackInfo& info);                  // (params) → job of a Trainer: trainer.cc
  Napi::Value dispose(const Napi::CallbackInfo& info);  // () → job; nothing is taken in afterwards

  EnginePtr engine_;
};

// The trainer that lives in an engine, by its number. Collected without dispose(), it ends the
// trainer all the same.
class TrainerHandle : public Napi::ObjectWrap<TrainerHandle> {
 public:
  struct Seed {
    EnginePtr engine;
    uint64_t number;
  };
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, Seed seed);
  explicit TrainerHandle(const Napi::CallbackInfo& info);  // only through create()
  ~TrainerHandle() override;

 private:
  Napi::Value preference_step(const Napi::CallbackInfo& info);  // (pairs) → job of the metrics
  Napi::Value sft_step(const Napi::CallbackInfo& info);         // (examples) → job of the metrics
  Napi::Value save_state(const Napi::CallbackInfo& info);       // (path) → job
  Napi::Value load_state(const Napi::CallbackInfo& info);       // (path) → job
  Napi::Value dispose(const Napi::CallbackInfo& info);          // () → job

  Seed seed_;
};

}  // namespace cream::binding
