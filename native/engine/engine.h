// A model, its worker thread and its queue. native/binding sees only this header, so it has plain
// structs and no tensors.
//
// Threads: post(), post_joining(), snapshot(), info(), close() and stop() may be called from any
// thread; the methods under "On the worker" only inside posted work. Only the worker touches the
// model's tensors, except that another model may send them to the host's memory between two items
// of its work (engine/turn.h). Models that share storage (snapshots) only read it, and the first to
// train takes a copy of its own. An engine is owned by JavaScript handles and by running
// jobs. The last reference is dropped on the JS thread, never on the worker, because the destructor
// joins the worker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/worker.h"
#include "generate/callbacks.h"
#include "model/config.h"
#include "support/cuda_info.h"
#include "support/digest.h"
#include "support/types.h"

namespace cream {

struct ModelInfo {
  ModelConfig config;
  std::string config_json;  // config.json of this model, generated where the source has none (GGUF)
  std::string note;         // for the user: parts of the file that are not used; usually empty
  uint64_t parameters = 0;  // scalar parameters; a tied head is counted once
  DType dtype = DType::bfloat16;
  std::string device = "cpu";  // device of the weights; "cuda" is resolved to "cuda:0"
  // Whether a sequence has the same bits whatever else is in its batch (docs/determinism.md).
  bool batch_invariant = false;
};

class Engine {
 public:
  Engine();
  ~Engine();

  void post(std::function<void()> work, Worker::Done done) {
    worker_.post(in_turn(std::move(work)), std::move(done));
  }
  // For work that begins a generation: it joins the generations in progress between two of their
  // steps. All other work waits until these have ended, and work posted after it waits for it.
  void post_joining(std::function<void()> begin, Worker::Done failed) {
    worker_.post_joining(in_turn(std::move(begin)), std::move(failed));
  }
  void close() { worker_.close(); }
  void stop() { worker_.stop(); }
  void join() { worker_.join(); }

  // Copy-on-write snapshot after all queued work: storage is shared until one of the two engines
  // trains; a LoRA base stays shared. With `adapter` false the snapshot is the base model alone.
  // Returns at once. Work posted to the new engine waits for the snapshot, and this engine must
  // live until it is made. Destroying a new engine that has no work never blocks.
  std::shared_ptr<Engine> snapshot(bool adapter = true);

  // Valid once load() is done; does not change afterwards.
  const ModelInfo& info() const { return info_; }

  // --- On the worker ---
  // device: a name of parse_device (support/device.h).
  void load(const std::string& path, DType dtype, const std::string& device, const Cancel& cancel);
  // Frees weights and trainer, and gives the memory back to the system.
  void unload();
  // Moves the weights to the host's memory until they are next used, to free the device's. Does
  // nothing on the CPU, with an adapter, while a trainer lives, and where another model shares the
  // weights. Other models that need the device's memory do the same between two turns (turn.h).
  void offload();

  // Call it only in work of post_joining(). The request decodes together with those in progress;
  // its callbacks are called on the worker, on_end with the last. Throws Error, without any
  // callback, for a request that cannot run.
  void begin_generation(const GenerationRequest& request, GenerationCallbacks callbacks,
                        std::shared_ptr<const Cancel> cancel);
  ScoringResult score(const ScoringRequest& request, const OnProgress& on_progress,
                      const Cancel& cancel);
  std::vector<float> logits(const Tokens& tokens);  // [tokens, vocab], row-major
  // [sequences, labels], row-major. Only for sequence-classification models; all other computations
  // throw Error{unsupported} for those.
  std::vector<float> classify(const ClassificationRequest& request, const Cancel& cancel);

  // --- Adapters: Error{invalid_argument} while a trainer lives, unless said otherwise ---
  // Adds a new adapter (see new_adapter) to a model without one; returns the resolved parameters.
  LoraParams add_adapter(const LoraParams& params, uint64_t seed);
  // Loads an adapter in PEFT's format; it replaces the present one.
  LoraParams load_adapter(const std::string& directory);
  // Writes adapter_config.json and adapter_model.safetensors; allowed while a trainer lives.
  void save_adapter(const std::string& directory, DType dtype, const std::string& base_model);
  // Merges the adapter into the weights. Where the model's weights are rounded from a checkpoint,
  // the merge starts from the checkpoint's fp32 values.
  void merge_adapter(const Cancel& cancel = Cancel());  // a cancel ends the reading of those

  // Writes model.safetensors and config.json into `directory`, which is created. While a trainer
  // lives, its fp32 master weights are saved; a float32 save of a bf16 model's masters is what the
  // next trainer starts from; the ranks of a trainer make this call together, and rank 0 writes.
  // A cancel leaves the files of `directory` as they were. Error{invalid_argument} for a model with
  // an adapter. Returns the files with weights, with their SHA-256 where `digest` makes one; none
  // on the other ranks.
  std::vector<SavedFile> save(const std::string& directory, DType dtype,
                              const std::string& config_json, const Cancel& cancel = Cancel(),
                              const MakeDigest& digest = {});

  // One trainer at a time. Returns the trainer's number, which the other calls take; they throw
  // Error{disposed} where it is not the number of the live trainer.
  uint64_t start_trainer(const TrainerParams& params, const Cancel& cancel = Cancel());
  StepMetrics preference_step(uint64_t trainer, const std::vector<PreferencePair>& pairs,
                              const Cancel& cancel);
  StepMetrics sft_step(uint64_t trainer, const std::vector<SftExample>& examples,
                       const Cancel& cancel);
  void save_trainer_state(uint64_t trainer, const std::string& path);
  void load_trainer_state(uint64_t trainer, const std::vector<std::string>& paths,
                          const Cancel& cancel = Cancel());
  // All ranks must call it: the model of a trainer that shards the weights has them, until the next
  // step. Nothing where they are not sharded.
  void gather_weights(uint64_t trainer);
  // The model keeps its trained weights; where these are sharded and not gathered, it is unloaded.
  // With `keep_masters` a bf16 model also keeps its fp32 master weights, in the host's memory: a
  // float32 save writes them and the next trainer starts from them, as do those of snapshots. All
  // ranks of a trainer must agree. No error where the trainer has ended already.
  void end_trainer(uint64_t trainer, bool keep_masters = false);

 private:
  struct State;  // all tensors; touched on the worker only (engine/state.h)
  bool step();
  std::function<void()> in_turn(std::function<void()> work);

  ModelInfo info_;
  std::unique_ptr<State> state_;
  Worker worker_;  // last member: joined before state_ is destroyed
};

// --- Without a model ---
struct EngineInfo {
  std::string torch;  // libtorch's version
  std::string cpu_model;
  std::string cpu_level;  // instruction set that the kernels use (ops/dispatch.h)
  std::string cpu_loss;   // what is slower than at the best level; empty at the best level
  std::vector<std::string> cpu_features;  // those the kernels look for, e.g. "avx512_bf16"
  int threads = 0;
  CudaInfo cuda;
  uint64_t weight_bytes = 0;  // of all live models; shared storage is counted once
};
EngineInfo engine_info();

// The roofline of `cream bench`: seconds for one y = x · Wᵀ, x [m, k], W [n, k], through ATen; and
// for one copy of `bytes` bytes, which are both read and written. Both run on a worker and use its
// thread count.
struct GemmShape {
  int64_t m = 0;
  int64_t k = 0;
  int64_t n = 0;
};
double benchmark_gemm(const GemmShape& shape, DType dtype, const std::string& device,
                      int64_t repeats);
double benchmark_copy(int64_t bytes, const std::string& device, int64_t repeats);

// All metadata of a GGUF file as one JSON object. Reads the header only.
std::string read_gguf_metadata(const std::string& path);

}  // namespace cream
