// The exports of `require('cream.node')`, made once per environment (main thread or
// worker_thread).
#include <napi.h>

#include "binding/convert.h"
#include "binding/job.h"
#include "binding/model.h"
#include "binding/ranks.h"
#include "support/allocator.h"
#include "support/file_lock.h"

namespace cream::binding {

namespace {

Napi::Value get_engine_info(const Napi::CallbackInfo& info) {
  return from_engine_info(info.Env(), engine_info());
}

void set_thread_count(const Napi::CallbackInfo& info) {
  set_threads(info[0].As<Napi::Number>().Int32Value());
}

void release_memory(const Napi::CallbackInfo&) { release_cached_memory(); }

// (GPU index) → bytes
Napi::Value get_free_memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(
        info.Env(),
        static_cast<double>(free_device_memory(info[0].As<Napi::Number>().Int32Value())));
  });
}

// (path) → job of a JSON text. Runs on a worker of its own, which ends with the job.
Napi::Value read_gguf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = info[0].As<Napi::String>();
    auto json = std::make_shared<std::string>();
    return Job::start(
        info.Env(), std::make_shared<Engine>(),
        [path, json](Job&) { *json = read_gguf_metadata(path); },
        [json](Napi::Env env) { return Napi::String::New(env, *json); });
  });
}

// (path, contents) → function that unlocks, or null where another holder has the lock.
Napi::Value lock(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string path = info[0].As<Napi::String>();
    auto lock = lock_file(path, info[1].As<Napi::String>());
    if (!lock) return info.Env().Null();
    auto held = std::make_shared<std::optional<FileDescriptor>>(std::move(lock));
    return Napi::Function::New(info.Env(), [path, held](const Napi::CallbackInfo&) {
      if (*held) unlock_file(path, std::move(**held));
      held->reset();
    });
  });
}

Napi::Value plan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return from_plan(info.Env(), plan_memory(to_plan_request(info[0]))); });
}

// Runs a benchmark on a worker of its own → job of its seconds.
Napi::Value timed(const Napi::CallbackInfo& info, std::function<double()> work) {
  return guarded(info.Env(), [&] {
    auto seconds = std::make_shared<double>();
    return Job::start(
        info.Env(), std::make_shared<Engine>(), [work, seconds](Job&) { *seconds = work(); },
        [seconds](Napi::Env env) { return Napi::Number::New(env, *seconds); });
  });
}

// (m, k, n, dtype, device, repeats)
Napi::Value start_gemm_benchmark(const Napi::CallbackInfo& info) {
  const auto size = [&info](size_t i) { return info[i].As<Napi::Number>().Int64Value(); };
  return timed(info, [shape = GemmShape{size(0), size(1), size(2)}, dtype = to_dtype(info[3]),
                      device = std::string(info[4].As<Napi::String>()),
                      repeats = size(5)] { return benchmark_gemm(shape, dtype, device, repeats); });
}

// (bytes, device, repeats)
Napi::Value start_copy_benchmark(const Napi::CallbackInfo& info) {
  const int64_t bytes = info[0].As<Napi::Number>().Int64Value(),
                repeats = info[2].As<Napi::Number>().Int64Value();
  const std::string device = info[1].As<Napi::String>();
  return timed(info, [bytes, device, repeats] { return benchmark_copy(bytes, device, repeats); });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment(env);
  env.SetInstanceData(environment);
  const Napi::Function model = ModelHandle::define(env);
  const Napi::Function trainer = TrainerHandle::define(env);
  environment->model_class = Napi::Persistent(model);
  environment->trainer_class = Napi::Persistent(trainer);
  exports["Model"] = model;
  exports["Trainer"] = trainer;
  exports["engineInfo"] = Napi::Function::New<get_engine_info>(env, "engineInfo");
  exports["freeDeviceMemory"] = Napi::Function::New<get_free_memory>(env, "freeDeviceMemory");
  exports["setThreads"] = Napi::Function::New<set_thread_count>(env, "setThreads");
  exports["releaseMemory"] = Napi::Function::New<release_memory>(env, "releaseMemory");
  exports["readGguf"] = Napi::Function::New<read_gguf>(env, "readGguf");
  exports["lockFile"] = Napi::Function::New<lock>(env, "lockFile");
  exports["plan"] = Napi::Function::New<plan>(env, "plan");
  exports["benchmarkGemm"] = Napi::Function::New<start_gemm_benchmark>(env, "benchmarkGemm");
  exports["benchmarkCopy"] = Napi::Function::New<start_copy_benchmark>(env, "benchmarkCopy");
  export_ranks(env, exports);
  return exports;
}

}  // namespace

}  // namespace cream::binding

static Napi::Object initialise_module(Napi::Env env, Napi::Object exports) {
  return cream::binding::initialise(env, exports);
}
NODE_API_MODULE(cream, initialise_module)
