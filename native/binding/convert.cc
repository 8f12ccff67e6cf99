#include "binding/convert.h"

#include <cstring>
#include <optional>

namespace cream::binding {

namespace {

[[noreturn]] void wrong(Napi::Env env, const std::string& name, const char* expected) {
  throw Napi::TypeError::New(env, "[binding] " + name + " must be " + expected + ".");
}

Napi::Object object(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) wrong(value.Env(), name, "an object");
  return value.As<Napi::Object>();
}

double number(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsNumber()) wrong(from.Env(), name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Object& from, const char* name) {
  return static_cast<int64_t>(number(from, name));
}

uint64_t key64(const Napi::Object& from, const char* name) {
  return to_key64(from.Get(name), name);
}

template <class T>
std::vector<T> typed_array(const Napi::Value& value, const char* name, napi_typedarray_type wanted,
                           const char* expected) {
  bool is_typed_array = false;
  napi_is_typedarray(value.Env(), value, &is_typed_array);
  if (!is_typed_array) wrong(value.Env(), name, expected);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != wanted) {
    wrong(value.Env(), name, expected);
  }
  std::vector<T> out(length);
  if (length > 0) std::memcpy(out.data(), data, length * sizeof(T));
  return out;
}

template <class T, class One>
std::vector<T> each(const Napi::Value& value, const char* name, One&& one) {
  if (!value.IsArray()) wrong(value.Env(), name, "an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<T> out;
  out.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(value.Env());
    out.push_back(one(array.Get(i)));
  }
  return out;
}

template <class Typed, class T>
Napi::Value typed_array_of(Napi::Env env, const std::vector<T>& values) {
  Typed array = Typed::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}

template <class T, class One>
Napi::Value array_of(Napi::Env env, const std::vector<T>& values, One&& one) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) array[i] = one(values[i]);
  return array;
}

Napi::Value strings(Napi::Env env, const std::vector<std::string>& values) {
  return array_of(env, values,
                  [env](const std::string& value) { return Napi::String::New(env, value); });
}

Napi::Value count(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

Schedule to_schedule(const Napi::Value& value) {
  const std::string name = value.As<Napi::String>();
  if (name == "constant") return Schedule::constant;
  if (name == "linear") return Schedule::linear;
  if (name == "cosine") return Schedule::cosine;
  wrong(value.Env(), "schedule", "'constant', 'linear' or 'cosine'");
}

bool is_named(const Napi::Object& from, const char* name, const char* wanted) {
  const Napi::Value value = from.Get(name);
  if (!value.IsString()) wrong(from.Env(), name, "a string");
  return value.As<Napi::String>().Utf8Value() == wanted;
}

OptimizerForms to_forms(const Napi::Object& from) {
  return {is_named(from, "optimizerStates", "8bit"), is_named(from, "masterWeights", "split"),
          is_named(from, "gradientDtype", "bfloat16")};
}

// Nothing where the field is not there: chosen for the user.
std::optional<int64_t> maybe_integer(const Napi::Object& from, const char* name) {
  return from.Get(name).IsUndefined() ? std::nullopt : std::optional<int64_t>(integer(from, name));
}
std::optional<bool> maybe_flag(const Napi::Object& from, const char* name) {
  return from.Get(name).IsUndefined() ? std::nullopt
                                      : std::optional<bool>(from.Get(name).ToBoolean());
}

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::eos:
      return "eos";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
  }
  return "length";
}

}  // namespace

Tokens to_tokens(const Napi::Value& value, const char* name) {
  return typed_array<TokenId>(value, name, napi_int32_array, "an Int32Array");
}

uint64_t to_key64(const Napi::Value& value, const char* name) {
  if (!value.IsBigInt()) wrong(value.Env(), name, "a bigint");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

DType to_dtype(const Napi::Value& value) {
  const std::string name = value.As<Napi::String>();
  if (name == "float32") return DType::float32;
  if (name == "bfloat16") return DType::bfloat16;
  wrong(value.Env(), "dtype", "'float32' or 'bfloat16'");
}

GenerationRequest to_generation_request(const Napi::Value& value) {
  const Napi::Object from = object(value, "request");
  GenerationRequest request;
  request.prompts =
      each<GenerationPrompt>(from.Get("prompts"), "prompts", [](const Napi::Value& item) {
        const Napi::Object prompt = object(item, "prompt");
        return GenerationPrompt{to_tokens(prompt.Get("tokens"), "tokens"), key64(prompt, "key"),
                                static_cast<uint32_t>(integer(prompt, "samples")),
                                static_cast<uint32_t>(integer(prompt, "firstSample"))};
      });
  SamplingParams& sampling = request.sampling;
  sampling.temperature = number(from, "temperature");
  sampling.top_p = number(from, "topP");
  sampling.top_k = integer(from, "topK");
  sampling.min_new_tokens = integer(from, "minNewTokens");
  sampling.max_new_tokens = integer(from, "maxNewTokens");
  sampling.stop_ids = to_tokens(from.Get("stopIds"), "stopIds");
  sampling.stop_strings = each<std::string>(
      from.Get("stopStrings"), "stopStrings",
      [](const Napi::Value& text) { return text.As<Napi::String>().Utf8Value(); });
  if (!from.Get("tokenBytes").IsUndefined()) {
    const Napi::Object bytes = object(from.Get("tokenBytes"), "tokenBytes");
    request.token_bytes = typed_array<uint8_t>(bytes.Get("bytes"), "tokenBytes.bytes",
                                               napi_uint8_array, "a Uint8Array");
    request.token_byte_offsets = typed_array<uint32_t>(bytes.Get("offsets"), "tokenBytes.offsets",
                                                       napi_uint32_array, "a Uint32Array");
  }
  request.seed = key64(from, "seed");
  request.iteration = static_cast<uint32_t>(integer(from, "iteration"));
  request.max_num_seqs = integer(from, "maxNumSeqs");
  return request;
}

ScoringRequest to_scoring_request(const Napi::Value& value) {
  const Napi::Object from = object(value, "request");
  ScoringRequest request;
  request.groups = each<ScoringGroup>(from.Get("groups"), "groups", [](const Napi::Value& item) {
    const Napi::Object group = object(item, "group");
    return ScoringGroup{
        to_tokens(group.Get("prompt"), "prompt"),
        each<Tokens>(group.Get("completions"), "completions",
                     [](const Napi::Value& tokens) { return to_tokens(tokens, "completion"); })};
  });
  request.max_num_batched_tokens = integer(from, "maxNumBatchedTokens");
  return request;
}

ClassificationRequest to_classification_request(const Napi::Value& value) {
  const Napi::Object from = object(value, "request");
  return {each<Tokens>(from.Get("sequences"), "sequences",
                       [](const Napi::Value& tokens) { return to_tokens(tokens, "sequence"); }),
          integer(from, "maxNumBatchedTokens")};
}

TrainerParams to_trainer_params(const Napi::Value& value) {
  const Napi::Object from = object(value, "params");
  TrainerParams params;
  OptimizerParams& optimizer = params.optimizer;
  optimizer.learning_rate = number(from, "learningRate");
  optimizer.beta1 = number(from, "beta1");
  optimizer.beta2 = number(from, "beta2");
  optimizer.epsilon = number(from, "epsilon");
  optimizer.weight_decay = number(from, "weightDecay");
  optimizer.max_grad_norm = number(from, "maxGradNorm");
  optimizer.schedule = to_schedule(from.Get("schedule"));
  optimizer.warmup_steps = integer(from, "warmupSteps");
  optimizer.total_steps = integer(from, "totalSteps");
  optimizer.forms = to_forms(from);
  params.beta = number(from, "beta");
  params.micro_batch_tokens = integer(from, "microBatchTokens");
  params.activation_checkpointing = maybe_flag(from, "activationCheckpointing");
  params.kl_coefficient = number(from, "klCoefficient");
  params.dropout_seed = key64(from, "dropoutSeed");
  return params;
}

LoraParams to_lora_params(const Napi::Value& value) {
  const Napi::Object from = object(value, "params");
  LoraParams params{integer(from, "rank"),
                    number(from, "alpha"),
                    number(from, "dropout"),
                    from.Get("useRslora").ToBoolean(),
                    {}};
  params.targets = each<std::string>(
      from.Get("targetModules"), "targetModules",
      [](const Napi::Value& name) { return name.As<Napi::String>().Utf8Value(); });
  return params;
}

PlanRequest to_plan_request(const Napi::Value& value) {
  const Napi::Object from = object(value, "request");
  PlanRequest request;
  request.config = config_from_json(from.Get("configJson").As<Napi::String>(),
                                    from.Get("source").As<Napi::String>());
  request.dtype = to_dtype(from.Get("dtype"));
  request.stage = is_named(from, "stage", "sample")  ? PlanStage::sample
                  : is_named(from, "stage", "score") ? PlanStage::score
                                                     : PlanStage::train;
  request.device_bytes = static_cast<uint64_t>(number(from, "deviceBytes"));
  if (from.Get("lora").IsObject()) request.lora = to_lora_params(from.Get("lora"));
  request.other_models = integer(from, "otherModels");
  request.prompt_tokens = integer(from, "promptTokens");
  request.new_tokens = integer(from, "newTokens");
  request.samples = integer(from, "samples");
  request.micro_batch_tokens = maybe_integer(from, "microBatchTokens");
  request.max_num_batched_tokens = maybe_integer(from, "maxNumBatchedTokens");
  request.max_num_seqs = maybe_integer(from, "maxNumSeqs");
  request.activation_checkpointing = maybe_flag(from, "activationCheckpointing");
  if (!from.Get("optimizerStates").IsUndefined()) request.forms = to_forms(from);
  return request;
}

std::vector<PreferencePair> to_pairs(const Napi::Value& value) {
  return each<PreferencePair>(value, "pairs", [](const Napi::Value& item) {
    const Napi::Object pair = object(item, "pair");
    return PreferencePair{to_tokens(pair.Get("prompt"), "prompt"),
                          to_tokens(pair.Get("chosen"), "chosen"),
                          to_tokens(pair.Get("rejected"), "rejected"),
                          number(pair, "referenceChosen"),
                          number(pair, "referenceRejected"),
                          number(pair, "weight"),
                          number(pair, "baseChosen"),
                          number(pair, "baseRejected")};
  });
}

std::vector<SftExample> to_examples(const Napi::Value& value) {
  return each<SftExample>(value, "examples", [](const Napi::Value& item) {
    const Napi::Object example = object(item, "example");
    return SftExample{to_tokens(example.Get("prompt"), "prompt"),
                      to_tokens(example.Get("completion"), "completion")};
  });
}

Napi::Value from_floats(Napi::Env env, const std::vector<float>& values) {
  return typed_array_of<Napi::Float32Array>(env, values);
}

Napi::Value from_info(Napi::Env env, const ModelInfo& info) {
  const ModelConfig& config = info.config;
  Napi::Object out = Napi::Object::New(env);
  out["architecture"] = config.architecture;
  out["modelType"] = config.model_type;
  out["vocabSize"] = count(env, config.vocab_size);
  out["hiddenSize"] = count(env, config.hidden_size);
  out["numLayers"] = count(env, config.num_layers);
  out["numHeads"] = count(env, config.num_heads);
  out["numKvHeads"] = count(env, config.num_kv_heads);
  out["headDim"] = count(env, config.head_dim);
  out["intermediateSize"] = count(env, config.intermediate_size);
  out["maxPositionEmbeddings"] = count(env, config.context());
  out["tieWordEmbeddings"] = config.tie_word_embeddings;
  out["bosTokenId"] = config.bos_token_id < 0 ? env.Null() : count(env, config.bos_token_id);
  out["eosTokenIds"] = array_of(env, config.eos_token_ids, [env](int64_t id) {
    return Napi::Number::New(env, static_cast<double>(id));
  });
  out["numLabels"] = count(env, config.num_labels);
  out["parameters"] = count(env, info.parameters);
  out["configJson"] = info.config_json;
  out["device"] = info.device;
  return out;
}

Napi::Value from_lora_params(Napi::Env env, const LoraParams& params) {
  Napi::Object out = Napi::Object::New(env);
  out["rank"] = count(env, params.rank);
  out["alpha"] = params.alpha;
  out["dropout"] = params.dropout;
  out["targetModules"] = strings(env, params.targets);
  out["useRslora"] = params.rslora;
  return out;
}

Napi::Value from_completion(Napi::Env env, const GeneratedCompletion& completion) {
  Napi::Object out = Napi::Object::New(env);
  out["promptIndex"] = completion.prompt_index;
  out["sample"] = completion.sample;
  out["tokens"] = typed_array_of<Napi::Int32Array>(env, completion.tokens);
  out["logprobs"] = from_floats(env, completion.logprobs);
  out["finishReason"] = finish_name(completion.finish);
  return out;
}

Napi::Value from_streamed(Napi::Env env, const std::vector<StreamedToken>& tokens) {
  return array_of(env, tokens, [env](const StreamedToken& streamed) {
    Napi::Object token = Napi::Object::New(env);
    token["promptIndex"] = streamed.prompt_index;
    token["sample"] = streamed.sample;
    token["token"] = streamed.token;
    return token;
  });
}

Napi::Value from_stats(Napi::Env env, const GenerationStats& stats) {
  Napi::Object out = Napi::Object::New(env);
  out["promptTokens"] = count(env, stats.prompt_tokens);
  out["completionTokens"] = count(env, stats.completion_tokens);
  out["decodeSteps"] = count(env, stats.decode_steps);
  out["prefillSeconds"] = stats.prefill_seconds;
  out["decodeSeconds"] = stats.decode_seconds;
  return out;
}

Napi::Value from_scoring_result(Napi::Env env, const ScoringResult& result) {
  Napi::Object out = Napi::Object::New(env);
  out["sums"] = typed_array_of<Napi::Float64Array>(env, result.sums);
  out["tokenLogprobs"] = from_floats(env, result.token_logprobs);
  const std::vector<double> offsets(result.offsets.begin(), result.offsets.end());
  out["offsets"] = typed_array_of<Napi::Float64Array>(env, offsets);
  out["forwardTokens"] = count(env, result.forward_tokens);
  out["seconds"] = result.seconds;
  return out;
}

Napi::Value from_metrics(Napi::Env env, const StepMetrics& metrics) {
  Napi::Object out = Napi::Object::New(env);
  out["step"] = count(env, metrics.step);
  out["loss"] = metrics.loss;
  out["gradNorm"] = metrics.grad_norm;
  out["learningRate"] = metrics.learning_rate;
  out["rewardChosen"] = metrics.reward_chosen;
  out["rewardRejected"] = metrics.reward_rejected;
  out["rewardMargin"] = metrics.reward_margin;
  out["rewardAccuracy"] = metrics.reward_accuracy;
  out["logpChosen"] = metrics.logp_chosen;
  out["logpRejected"] = metrics.logp_rejected;
  out["kl"] = metrics.kl;
  out["tokens"] = count(env, metrics.tokens);
  out["seconds"] = metrics.seconds;
  return out;
}

static Napi::Value from_cuda_info(Napi::Env env, const CudaInfo& info) {
  Napi::Object out = Napi::Object::New(env);
  out["built"] = info.built;
  out["toolkit"] = info.toolkit;
  out["architectures"] = info.architectures;
  out["problem"] = info.problem;
  out["gpus"] = array_of(env, info.gpus, [env](const GpuInfo& gpu) {
    Napi::Object one = Napi::Object::New(env);
    one["index"] = gpu.index;
    one["name"] = gpu.name;
    one["computeCapability"] = std::to_string(gpu.major) + "." + std::to_string(gpu.minor);
    one["multiprocessors"] = gpu.multiprocessors;
    one["memoryBytes"] = count(env, gpu.memory_bytes);
    return one;
  });
  return out;
}

Napi::Value from_plan(Napi::Env env, const Plan& plan) {
  Napi::Object out = Napi::Object::New(env);
  out["parts"] = array_of(env, plan.parts, [env](const PlanPart& part) {
    Napi::Object one = Napi::Object::New(env);
    one["name"] = part.name;
    one["bytes"] = count(env, part.bytes);
    return one;
  });
  out["bytes"] = count(env, plan.bytes);
  out["shortBytes"] = count(env, plan.short_bytes);
  out["microBatchTokens"] = count(env, plan.micro_batch_tokens);
  out["activationCheckpointing"] = plan.activation_checkpointing;
  out["optimizerStates"] = plan.forms.states_8bit ? "8bit" : "float32";
  out["masterWeights"] = plan.forms.split_masters ? "split" : "float32";
  out["gradientDtype"] = plan.forms.bf16_gradients ? "bfloat16" : "float32";
  out["maxNumSeqs"] = count(env, plan.max_num_seqs);
  out["kvPages"] = count(env, plan.kv_pages);
  out["maxNumBatchedTokens"] = count(env, plan.max_num_batched_tokens);
  out["headChunkTokens"] = count(env, plan.head_chunk_tokens);
  return out;
}

Napi::Value from_engine_info(Napi::Env env, const EngineInfo& info) {
  Napi::Object cpu = Napi::Object::New(env);
  cpu["model"] = info.cpu_model;
  cpu["level"] = info.cpu_level;
  cpu["loss"] = info.cpu_loss;
  cpu["features"] = strings(env, info.cpu_features);
  Napi::Object out = Napi::Object::New(env);
  out["torch"] = info.torch;
  out["cpu"] = cpu;
  out["threads"] = info.threads;
  out["cuda"] = from_cuda_info(env, info.cuda);
  out["weightBytes"] = count(env, info.weight_bytes);
  return out;
}

}  // namespace cream::binding
