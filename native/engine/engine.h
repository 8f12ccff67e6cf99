// A model, its worker thread and its queue. This header is what native/binding sees: plain structs,
// never a tensor.
//
// Threads: post(), snapshot(), info(), close() and stop() may be called from any thread; the
// methods under "On the worker" only inside posted work. The worker is the only thread that touches
// the model's tensors; models that share storage (snapshots) only read it, and the first to train
// takes a copy of its own. Owners: JavaScript handles and the jobs that run. The last of them lets
// go on the JS thread, never on the worker (it joins it).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/worker.h"
#include "model/config.h"
#include "support/cuda_info.h"
#include "support/types.h"

namespace cream {

struct ModelInfo {
  ModelConfig config;
  std::string config_json;  // a config.json for this model, for sources that bring none (GGUF)
  uint64_t parameters = 0;  // numbers stored, a tied head counted once
  DType dtype = DType::bfloat16;
  std::string device = "cpu";  // where its weights are, "cuda:0" for "cuda"
};

class Engine {
 public:
  Engine();
  ~Engine();

  void post(std::function<void()> work, Worker::Done done) {
    worker_.post(std::move(work), std::move(done));
  }
  void close() { worker_.close(); }
  void stop() { worker_.stop(); }
  void join() { worker_.join(); }

  // Another engine with the weights as they are after the work posted so far; storage is shared
  // until either of them trains, a base's under adapters also then. Without `adapter` it is the
  // base alone. Returns at once; the new engine's own work waits for that moment, until which this
  // engine must live. A new engine without work waits for nothing, so that letting go of it never
  // blocks.
  std::shared_ptr<Engine> snapshot(bool adapter = true);

  // Valid once load() is done; does not change afterwards.
  const ModelInfo& info() const { return info_; }

  // --- On the worker
  // -----------------------------------------------------------------------------------------------
  // device: a name of parse_device (support/device.h).
  void load(const std::string& path, DType dtype, const std::string& device, const Cancel& cancel);
  // Frees weights and trainer, and gives the memory back to the system.
  void unload();

  GenerationStats generate(const GenerationRequest& request,
                           std::function<void(GeneratedCompletion&&)> on_completion,
                           std::function<void(std::vector<StreamedToken>&&)> on_tokens,
                           OnProgress on_progress, const Cancel& cancel);
  ScoringResult score(const ScoringRequest& request, const OnProgress& on_progress,
                      const Cancel& cancel);
  std::vector<float> logits(const Tokens& tokens);  // [tokens, vocab], row-major
  // [sequences, labels], row-major; for sequence-classification models, which refuse all else that
  // is computed (Error{unsupported}).
  std::vector<float> classify(const ClassificationRequest& request, const Cancel& cancel);

  // --- Adapters: none of these while a trainer lives (Error{invalid_argument}) ---
  // A new one (see new_adapter), on a model that has none; the params as resolved.
  LoraParams add_adapter(const LoraParams& params, uint64_t seed);
  // One in PEFT's format, in the place of the present one.
  LoraParams load_adapter(const std::string& directory);
  // adapter_config.json and adapter_model.safetensors; also while a trainer lives.
  void save_adapter(const std::string& directory, DType dtype, const std::string& base_model);
  // Folds the adapter into the weights, those of the checkpoint where the model's own are a
  // rounding of them.
  void merge_adapter();

  // model.safetensors and config.json into `directory`, which is created; from the trainer's fp32
  // masters while one lives. A float32 save of a bf16 model's masters becomes what the next trainer
  // starts from. Refused for a model with an adapter.
  void save(const std::string& directory, DType dtype, const std::string& config_json);

  // One trainer at a time; returns its number, which the other calls name. A number that is no
  // longer the live one: Error{disposed}.
  uint64_t start_trainer(const TrainerParams& params);
  StepMetrics preference_step(uint64_t trainer, const std::vector<PreferencePair>& pairs,
                              const Cancel& cancel);
  StepMetrics sft_step(uint64_t trainer, const std::vector<SftExample>& examples,
                       const Cancel& cancel);
  void save_trainer_state(uint64_t trainer, const std::string& path);
  void load_trainer_state(uint64_t trainer, const std::string& path);
  void end_trainer(
      uint64_t trainer);  // the model keeps its trained weights; no error when it ended before

 private:
  struct State;  // all tensors; touched on the worker only

  ModelInfo info_;
  std::unique_ptr<State> state_;
  Worker worker_;  // last: joined before the state it works on goes
};

// --- Without a model
// -------------------------------------------------------------------------------------------------
struct EngineInfo {
  std::string torch;  // libtorch's version
  std::string cpu_model;
  std::string cpu_level, cpu_loss;  // what the kernels run at, and what that costs: empty for the
                                    // best (ops/dispatch.h)
  std::vector<std::string> cpu_features;  // those the kernels look for, e.g. "avx512_bf16"
  int threads = 0;
  CudaInfo cuda;
  uint64_t weight_bytes = 0;  // of all models that live, shared storage counted once
};
EngineInfo engine_info();

// The roofline of `cream bench`: seconds of one y = x · Wᵀ, x [m, k], W [n, k], through ATen; and
// of one copy of `bytes` to elsewhere (which reads and writes them). On a worker, whose thread
// count they use.
struct GemmShape {
  int64_t m = 0, k = 0, n = 0;
};
double benchmark_gemm(const GemmShape& shape, DType dtype, const std::string& device,
                      int64_t repeats);
double benchmark_copy(int64_t bytes, const std::string& device, int64_t repeats);

// All metadata of a GGUF file as one JSON object. Reads the header only.
std::string read_gguf_metadata(const std::string& path);

}  // namespace cream
