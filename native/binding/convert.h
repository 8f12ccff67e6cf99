// The only code that converts between JavaScript values and the plain structs of support/types.h.
// JS thread only. src/engine checks arguments; a wrong type here is a bug and throws a TypeError
// that names the field. Typed arrays are recognised by N-API type, not by constructor, because jest
// runs tests in another realm.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/plan.h"

namespace cream::binding {

// The engine's copy of the tokenBytes of a model's requests. They are arrays of its tokenizer that
// do not change, so they are copied once and not for each of thousands of completions.
class TokenBytesCopy {
 public:
  std::shared_ptr<const TokenBytes> of(const Napi::Value& given);

 private:
  Napi::ObjectReference bytes_, offsets_;  // the arrays that were copied
  std::shared_ptr<const TokenBytes> copy_;
};

Tokens to_tokens(const Napi::Value& value, const char* name);  // Int32Array
DType to_dtype(const Napi::Value& value);                      // "float32" | "bfloat16"
GenerationRequest to_generation_request(const Napi::Value& value, TokenBytesCopy& token_bytes);
ScoringRequest to_scoring_request(const Napi::Value& value);
ClassificationRequest to_classification_request(const Napi::Value& value);
TrainerParams to_trainer_params(const Napi::Value& value);
PlanRequest to_plan_request(const Napi::Value& value);  // throws Error for an invalid config
LoraParams to_lora_params(const Napi::Value& value);
uint64_t to_key64(const Napi::Value& value, const char* name);  // bigint
std::vector<PreferencePair> to_pairs(const Napi::Value& value);
std::vector<SftExample> to_examples(const Napi::Value& value);

Napi::Value from_floats(Napi::Env env, const std::vector<float>& values);  // Float32Array
Napi::Value from_info(Napi::Env env, const ModelInfo& info);
Napi::Value from_saved_files(Napi::Env env, const std::vector<SavedFile>& files);
Napi::Value from_lora_params(Napi::Env env, const LoraParams& params);
Napi::Value from_completion(Napi::Env env, const GeneratedCompletion& completion);
Napi::Value from_streamed(Napi::Env env, const std::vector<StreamedToken>& tokens);
Napi::Value from_generation_end(Napi::Env env, const GenerationEnd& end);
Napi::Value from_scoring_result(Napi::Env env, const ScoringResult& result);
Napi::Value from_metrics(Napi::Env env, const StepMetrics& metrics);
Napi::Value from_plan(Napi::Env env, const Plan& plan);
Napi::Value from_engine_info(Napi::Env env, const EngineInfo& info);

}  // namespace cream::binding
