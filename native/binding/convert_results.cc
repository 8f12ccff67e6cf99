// Converts the engine's results to JavaScript values.
#include <cstring>

#include "binding/convert.h"

namespace cream::binding {

namespace {

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
  out["note"] = info.note;
  out["device"] = info.device;
  out["batchInvariant"] = info.batch_invariant;
  return out;
}

Napi::Value from_saved_files(Napi::Env env, const std::vector<SavedFile>& files) {
  Napi::Array out = Napi::Array::New(env, files.size());
  for (uint32_t i = 0; i < files.size(); ++i) {
    Napi::Object file = Napi::Object::New(env);
    file["name"] = files[i].name;
    file["bytes"] = count(env, files[i].bytes);
    file["sha256"] = files[i].sha256.empty() ? env.Null() : Napi::String::New(env, files[i].sha256);
    out[i] = file;
  }
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
  out["topTokens"] = typed_array_of<Napi::Int32Array>(env, completion.top_tokens);
  out["topLogprobs"] = from_floats(env, completion.top_logprobs);
  out["finishReason"] = finish_name(completion.finish);
  return out;
}

Napi::Value from_streamed(Napi::Env env, const std::vector<StreamedToken>& tokens) {
  return array_of(env, tokens, [env](const StreamedToken& streamed) {
    Napi::Object token = Napi::Object::New(env);
    token["promptIndex"] = streamed.prompt_index;
    token["sample"] = streamed.sample;
    token["token"] = streamed.token;
    token["logprob"] = streamed.logprob;
    token["topTokens"] = array_of(env, streamed.top_tokens,
                                  [env](TokenId id) { return Napi::Number::New(env, id); });
    token["topLogprobs"] = array_of(env, streamed.top_logprobs, [env](float logprob) {
      return Napi::Number::New(env, logprob);
    });
    return token;
  });
}

Napi::Value from_generation_end(Napi::Env env, const GenerationEnd& end) {
  const GenerationStats& stats = end.stats;
  Napi::Object out = Napi::Object::New(env);
  out["promptTokens"] = count(env, stats.prompt_tokens);
  out["completionTokens"] = count(env, stats.completion_tokens);
  out["decodeSteps"] = count(env, stats.decode_steps);
  out["firstStep"] = count(env, end.first_step);
  out["lastStep"] = count(env, end.last_step);
  out["prefillSeconds"] = stats.prefill_seconds;
  out["decodeSeconds"] = stats.decode_seconds;
  out["graphFailure"] =
      stats.graph_failure.empty() ? env.Null() : Napi::String::New(env, stats.graph_failure);
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
    one["gpuOnly"] = part.gpu_only;
    return one;
  });
  out["bytes"] = count(env, plan.bytes);
  out["shortBytes"] = count(env, plan.short_bytes);
  out["microBatchTokens"] = count(env, plan.micro_batch_tokens);
  out["activationCheckpointing"] = plan.activation_checkpointing;
  out["shard"] = plan.shard_weights ? "weights" : "optimizer";
  out["optimizerStates"] = plan.forms.states_8bit ? "8bit" : "float32";
  out["masterWeights"] = plan.forms.split_masters ? "split" : "float32";
  out["gradientDtype"] = plan.forms.bf16_gradients ? "bfloat16" : "float32";
  out["offload"] = plan.offload;
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
