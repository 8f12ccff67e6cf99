// The engine's work on its worker: it passes the model to the module that computes.
#include "engine/engine.h"

#include <atomic>
#include <filesystem>

#include "engine/state.h"
#include "score/classifier.h"
#include "score/scorer.h"
#include "support/allocator.h"
#include "support/device.h"
#include "support/file.h"
#include "support/stream_mark.h"
#include "support/transfer.h"
#include "support/transient.h"
#include "weights/adapter.h"
#include "weights/load.h"

namespace cream {

namespace {

at::ScalarType scalar_type(DType dtype) {
  return dtype == DType::float32 ? at::kFloat : at::kBFloat16;
}

// What fitted() chose on the rank with the least memory: all ranks must make as many passes.
TrainerParams agreed(TrainerParams params, Group& group, at::Device device) {
  if (group.single()) return params;
  const Tensor own = at::tensor({params.micro_batch_tokens,
                                 int64_t{params.activation_checkpointing.value_or(false)}},
                                at::kLong)
                         .to(device);
  const Tensor all = at::empty({group.size() * own.numel()}, own.options());
  group.all_gather(all, own)();
  const Tensor of_ranks = all.cpu().view({group.size(), own.numel()});
  params.micro_batch_tokens = of_ranks.select(1, 0).min().item<int64_t>();
  params.activation_checkpointing = of_ranks.select(1, 1).max().item<int64_t>() != 0;
  return params;
}

// 0 for a file that cannot be read; loading it says why.
uint64_t bytes_to_load(const std::string& path, DType dtype) {
  try {
    return stored_numbers(path) * (dtype == DType::float32 ? 4 : 2);
  } catch (const Error&) {
    return 0;
  }
}

// Takes the host's tensors as they are.
NamedTensors on_host(NamedTensors tensors, at::Device device) {
  for (auto& [name, tensor] : tensors)
    if (!tensor.is_cpu()) tensor = download(tensor);
  StreamMark(device).wait();  // until the copies are made
  return tensors;
}

}  // namespace

Engine::Engine() : state_(std::make_unique<State>()), worker_([this] { return step(); }) {}
Engine::~Engine() = default;

std::function<void()> Engine::in_turn(std::function<void()> work) {
  return [this, work = std::move(work)] {
    const auto turn = state_->turn.begin();
    work();
  };
}

std::shared_ptr<Engine> Engine::snapshot(bool adapter) {
  auto promise = std::make_shared<std::promise<Shared>>();
  auto child = std::make_shared<Engine>();
  child->info_ = info_;
  child->state_->origin = promise->get_future();
  // The lambda is the only owner of the promise. Dropped without running, it breaks the promise,
  // and the child reports that.
  post(
      [state = state_.get(), adapter, promise = std::move(promise)] {
        try {
          promise->set_value(state->share(adapter));
        } catch (...) {
          promise->set_exception(std::current_exception());
        }
      },
      [](const Error*) {});
  return child;
}

void Engine::load(const std::string& path, DType dtype, const std::string& device,
                  const Cancel& cancel) {
  cancel.check();
  // A missing GPU is reported before many gigabytes are read.
  const at::Device place = parse_device(device);
  info_.device = place.str();
  const at::NoGradGuard no_grad;
  if (!place.is_cpu() && live_weight_bytes(place) > 0)
    make_room(state_->turn, bytes_to_load(path, dtype), place);
  LoadedWeights loaded = load_weights(path, scalar_type(dtype), cancel, place);
  Weights weights = weights_from(loaded.config, std::move(loaded.tensors));
  info_.dtype = dtype;
  info_.config = loaded.config;
  info_.config_json = config_to_json(loaded.config, dtype);
  info_.note = loaded.note;
  info_.batch_invariant = batch_invariant(loaded.config, scalar_type(dtype), place);
  info_.parameters = 0;
  for (const auto& [name, weight] : weights.parameters(loaded.config))
    info_.parameters += static_cast<uint64_t>(weight->numel());
  state_->model =
      std::make_shared<SharedModel>(Transformer(std::move(loaded.config), std::move(weights)));
  if (dtype == DType::bfloat16 && finer_than_bfloat16(path)) state_->masters_source = path;
}

void Engine::unload() {
  const at::Device device = state_->device();
  // Shared weights are not freed, and those who share them may be computing.
  const bool shared = state_->model && state_->model.use_count() > 1;
  state_->trainer.reset();
  state_->model.reset();
  state_->kept_masters.reset();
  state_->origin = {};
  // While another model is live, its next tensors can reuse the cached memory.
  if (live_weight_bytes() == 0) release_cached_memory();
  if (!shared) release_device_memory(device);
}

void Engine::offload() { state_->leave(state_->device()); }

void Engine::begin_generation(const GenerationRequest& request, GenerationCallbacks callbacks,
                              std::shared_ptr<const Cancel> cancel) {
  const Transformer& transformer = state_->causal("[generate]");
  if (!state_->generator)
    state_->generator = std::make_unique<Generator>(transformer, state_->decode_steps);
  state_->generator->add(fitted(request, state_->place()), std::move(callbacks), std::move(cancel));
}

// Decodes one token of all requests in progress. Their memory is freed with the last one.
bool Engine::step() {
  const auto turn = state_->turn.begin();
  if (state_->generator && state_->generator->step()) return true;
  state_->generator.reset();
  return false;
}

ScoringResult Engine::score(const ScoringRequest& request, const OnProgress& on_progress,
                            const Cancel& cancel) {
  const Transformer& transformer = state_->causal("[score]");
  return cream::score(transformer, fitted(request, state_->place()), on_progress, cancel);
}

std::vector<float> Engine::logits(const Tokens& tokens) {
  const at::NoGradGuard no_grad;
  // [tokens, vocab] fp32
  const Tensor logits = sequence_logits(state_->causal("[logits]"), tokens).cpu().contiguous();
  const float* values = logits.const_data_ptr<float>();
  return {values, values + logits.numel()};
}

std::vector<float> Engine::classify(const ClassificationRequest& request, const Cancel& cancel) {
  const Transformer& transformer = state_->ready();
  if (transformer.config().num_labels == 0)
    throw Error(ErrorCode::unsupported,
                "[classify] this is a causal language model (" + transformer.config().architecture +
                    ") without a scoring head; load a sequence-classification model.");
  return cream::classify(transformer, fitted(request, state_->place()), cancel);
}

std::vector<SavedFile> Engine::save(const std::string& directory, DType dtype,
                                    const std::string& config_json, const Cancel& cancel,
                                    const MakeDigest& digest) {
  const at::NoGradGuard no_grad;
  state_->loaded();
  if (state_->model->lora())
    throw Error(ErrorCode::invalid_argument,
                "[save] the model has an adapter; write it with saveAdapter(), or merge() it into "
                "the weights first.");
  const NamedTensors tensors = state_->to_save(scalar_type(dtype));
  std::vector<SavedFile> saved;
  if (!state_->trainer || state_->trainer->writes()) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) throw io_error("Could not create the folder", directory, error.value());
    // The config is written last: a folder with config.json is complete.
    saved = save_weights(directory, info_.config, tensors, scalar_type(dtype), kMaxShardBytes,
                         cancel, digest);
    write_file_atomic((std::filesystem::path(directory) / "config.json").string(), config_json);
  }
  if (state_->trainer && dtype == DType::float32 && info_.dtype == DType::bfloat16)
    state_->masters_source = directory;
  return saved;
}

LoraParams Engine::add_adapter(const LoraParams& params, uint64_t seed) {
  state_->causal("[addAdapter]");
  state_->require_no_trainer("[addAdapter]");
  SharedModel& model = *state_->model;
  if (model.lora())
    throw Error(ErrorCode::invalid_argument,
                "[addAdapter] the model has an adapter already; merge() it, or start from "
                "snapshot({ adapter: false }).");
  const LoraParams resolved = resolve_lora(info_.config, params);
  state_->model = model.with_adapter(resolved, new_adapter(info_.config, resolved, seed));
  return resolved;
}

LoraParams Engine::load_adapter(const std::string& directory) {
  state_->causal("[loadAdapter]");
  state_->require_no_trainer("[loadAdapter]");
  const AdapterConfig config = read_adapter_config(directory);
  LoraParams resolved;
  try {
    resolved = resolve_lora(info_.config, config.params);
  } catch (const Error& error) {
    throw Error(ErrorCode::invalid_file,
                directory + "/adapter_config.json does not fit this base model: " + error.what());
  }
  state_->model = state_->model->with_adapter(
      resolved, read_adapter_tensors(directory, adapter_layout(info_.config, resolved)));
  return resolved;
}

void Engine::save_adapter(const std::string& directory, DType dtype,
                          const std::string& base_model) {
  const at::NoGradGuard no_grad;
  state_->require_adapter("[saveAdapter]");
  cream::save_adapter(directory, {*state_->model->lora(), base_model},
                      state_->model->adapter_masters(), scalar_type(dtype));
}

void Engine::merge_adapter(const Cancel& cancel) {
  state_->require_no_trainer("[merge]");
  state_->require_adapter("[merge]");
  NamedTensors masters = state_->base_masters(cancel);
  const NamedTensors& adapter = state_->model->adapter_masters();
  masters.insert(masters.end(), adapter.begin(), adapter.end());
  if (state_->model.use_count() > 1 || state_->model->shares_base())
    state_->model = state_->model->copy();
  std::atomic_thread_fence(std::memory_order_acquire);
  // The model is rebuilt without its adapter, which releases the adapter's tensors and their bytes.
  cream::merge_adapter(state_->model->transformer.weights(), info_.config, masters);
  state_->model = state_->model->without_adapter();
  state_->forget_masters();
}

uint64_t Engine::start_trainer(const TrainerParams& params, const Cancel& cancel) {
  State& state = *state_;
  state.causal("[trainer]");
  if (state.trainer)
    throw Error(
        ErrorCode::invalid_argument,
        "[trainer] this model has a trainer already; dispose of it before asking for another.");
  Transformer& transformer = state.own();
  state.ranks = current_ranks();
  Group& group = state.ranks ? state.ranks->group() : single_group();
  const TrainerParams shared = agreed(fitted(params, state.place()), group, transformer.device());
  try {
    state.trainer = std::make_unique<Trainer>(transformer, shared, state.masters(cancel), group,
                                              kBucketElements, cancel);
  } catch (...) {
    // Weights that were sharded before it failed are gone.
    if (!has_memory(transformer.weights().embedding.weight)) state.model.reset();
    throw;
  }
  return ++state.trainer_number;
}

StepMetrics Engine::preference_step(uint64_t trainer, const std::vector<PreferencePair>& pairs,
                                    const Cancel& cancel) {
  Trainer& live = state_->live(trainer);
  const StepMetrics metrics = live.preference_step(pairs, cancel);
  state_->changed();
  return metrics;
}

StepMetrics Engine::sft_step(uint64_t trainer, const std::vector<SftExample>& examples,
                             const Cancel& cancel) {
  Trainer& live = state_->live(trainer);
  const StepMetrics metrics = live.sft_step(examples, cancel);
  state_->changed();
  return metrics;
}

void Engine::save_trainer_state(uint64_t trainer, const std::string& path) {
  state_->live(trainer).save_state(path);
}

void Engine::load_trainer_state(uint64_t trainer, const std::vector<std::string>& paths,
                                const Cancel& cancel) {
  Trainer& live = state_->live(trainer);
  live.load_state(paths, cancel);
  state_->changed();
}

void Engine::gather_weights(uint64_t trainer) { state_->live(trainer).gather_weights(); }

void Engine::end_trainer(uint64_t trainer, bool keep_masters) {
  if (!state_->trainer || trainer != state_->trainer_number) return;
  const at::NoGradGuard no_grad;
  const at::Device device = state_->device();
  const bool whole = state_->trainer->has_weights();
  // The masters of a float32 model are its weights, and an adapter keeps its own.
  if (keep_masters && info_.dtype == DType::bfloat16 && !state_->model->lora()) {
    NamedTensors masters;
    try {
      masters = on_host(state_->trainer->masters(), device);
    } catch (...) {
      release_device_memory(device);  // what was copied stays pinned otherwise
      throw;
    }
    if (state_->trainer->writes())
      state_->kept_masters = std::make_shared<const NamedTensors>(std::move(masters));
  }
  state_->trainer.reset();
  if (!whole) state_->model.reset();
  release_device_memory(device);
}

}  // namespace cream
