// The exported classes. A handle holds only a reference to its engine, which has all state. JS
// thread only.
#pragma once

#include <napi.h>

#include "binding/convert.h"
#include "binding/job.h"

namespace cream::binding {

class ModelHandle : public Napi::ObjectWrap<ModelHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  // new Model(): an engine without weights; load() comes next.
  explicit ModelHandle(const Napi::CallbackInfo& info);

 private:
  // (path, dtype) → job of the config
  Napi::Value load(const Napi::CallbackInfo& info);
  // generation.cc: (request, onCompletion, onTokens?, onProgress?) → job of the stats
  Napi::Value generate(const Napi::CallbackInfo& info);
  // scoring.cc: (request, onProgress?) → job of the result
  Napi::Value score(const Napi::CallbackInfo& info);
  // scoring.cc: (tokens) → job of a Float32Array
  Napi::Value logits(const Napi::CallbackInfo& info);
  // scoring.cc: (request) → job of a Float32Array
  Napi::Value classify(const Napi::CallbackInfo& info);
  // (adapter) → Model
  Napi::Value snapshot(const Napi::CallbackInfo& info);
  // (directory, dtype, configJson) → job of the files with weights
  Napi::Value save(const Napi::CallbackInfo& info);
  // adapter.cc: (params, seed) → job of the params
  Napi::Value add_adapter(const Napi::CallbackInfo& info);
  // adapter.cc: (directory) → job of the params
  Napi::Value load_adapter(const Napi::CallbackInfo& info);
  // adapter.cc: (directory, dtype, baseModel) → job
  Napi::Value save_adapter(const Napi::CallbackInfo& info);
  // adapter.cc: () → job
  Napi::Value merge(const Napi::CallbackInfo& info);
  // trainer.cc: (params) → job of a Trainer
  Napi::Value create_trainer(const Napi::CallbackInfo& info);
  // () → job
  Napi::Value offload(const Napi::CallbackInfo& info);
  // () → job; later calls are refused
  Napi::Value dispose(const Napi::CallbackInfo& info);

  EnginePtr engine_;
  TokenBytesCopy token_bytes_;
};

// Handle of an engine's trainer, by its number. Garbage collection of the handle ends the trainer,
// as dispose() does.
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
  Napi::Value load_state(const Napi::CallbackInfo& info);       // (paths) → job
  Napi::Value gather_weights(const Napi::CallbackInfo& info);   // () → job
  Napi::Value dispose(const Napi::CallbackInfo& info);          // (keepMasters) → job

  Seed seed_;
};

}  // namespace cream::binding
