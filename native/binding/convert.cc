#include "binding/convert.h"

#include <algorithm>
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

bool is_named(const Napi::Object& from, const char* name, const char* wanted) {
  const Napi::Value value = from.Get(name);
  if (!value.IsString()) wrong(from.Env(), name, "a string");
  return value.As<Napi::String>().Utf8Value() == wanted;
}

// `'constant', 'linear' or 'cosine'`
std::string alternatives(Words words) {
  std::string out;
  for (const char* const* word = words.begin(); word != words.end(); ++word) {
    if (word != words.begin()) out += word + 1 == words.end() ? " or " : ", ";
    out += std::string("'") + *word + "'";
  }
  return out;
}

// Visitor of each_setting() and each_form() (support/types.h): reads each field from an object.
struct FieldReader {
  const Napi::Object& from;

  void operator()(const char* name, double& value) const { value = number(from, name); }
  void operator()(const char* name, int64_t& value) const { value = integer(from, name); }
  template <class Choice>
  void operator()(const char* name, Choice& value, Words words) const {
    const Napi::Value given = from.Get(name);
    const std::string text = given.IsString() ? given.As<Napi::String>().Utf8Value() : "";
    const auto* word = std::find(words.begin(), words.end(), text);
    if (word == words.end()) wrong(from.Env(), name, alternatives(words).c_str());
    value = static_cast<Choice>(word - words.begin());
  }
};

// Empty if the field is missing: the engine then chooses the value.
std::optional<int64_t> maybe_integer(const Napi::Object& from, const char* name) {
  return from.Get(name).IsUndefined() ? std::nullopt : std::optional<int64_t>(integer(from, name));
}
std::optional<bool> maybe_flag(const Napi::Object& from, const char* name) {
  return from.Get(name).IsUndefined() ? std::nullopt
                                      : std::optional<bool>(from.Get(name).ToBoolean());
}

TokenBytes to_token_bytes(const Napi::Object& table) {
  return {typed_array<uint8_t>(table.Get("bytes"), "tokenBytes.bytes", napi_uint8_array,
                               "a Uint8Array"),
          typed_array<uint32_t>(table.Get("offsets"), "tokenBytes.offsets", napi_uint32_array,
                                "a Uint32Array")};
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

std::shared_ptr<const TokenBytes> TokenBytesCopy::of(const Napi::Value& given) {
  const Napi::Object table = object(given, "tokenBytes");
  const Napi::Value bytes = table.Get("bytes"), offsets = table.Get("offsets");
  if (copy_ && bytes.StrictEquals(bytes_.Value()) && offsets.StrictEquals(offsets_.Value()))
    return copy_;
  copy_ = std::make_shared<const TokenBytes>(to_token_bytes(table));
  bytes_ = Napi::Persistent(bytes.As<Napi::Object>());
  offsets_ = Napi::Persistent(offsets.As<Napi::Object>());
  return copy_;
}

GenerationRequest to_generation_request(const Napi::Value& value, TokenBytesCopy& token_bytes) {
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
  if (!from.Get("tokenBytes").IsUndefined())
    request.token_bytes = token_bytes.of(from.Get("tokenBytes"));
  request.seed = key64(from, "seed");
  request.iteration = static_cast<uint32_t>(integer(from, "iteration"));
  request.max_num_seqs = integer(from, "maxNumSeqs");
  request.top_logprobs = integer(from, "topLogprobs");
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
  each_setting(params, FieldReader{from});
  params.micro_batch_tokens = integer(from, "microBatchTokens");
  params.activation_checkpointing = maybe_flag(from, "activationCheckpointing");
  params.shard_weights = is_named(from, "shard", "weights");
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
  request.ranks = maybe_integer(from, "ranks").value_or(1);
  if (!from.Get("shard").IsUndefined()) request.shard_weights = is_named(from, "shard", "weights");
  request.micro_batch_tokens = maybe_integer(from, "microBatchTokens");
  request.max_num_batched_tokens = maybe_integer(from, "maxNumBatchedTokens");
  request.max_num_seqs = maybe_integer(from, "maxNumSeqs");
  request.activation_checkpointing = maybe_flag(from, "activationCheckpointing");
  if (!from.Get("optimizerStates").IsUndefined())
    each_form(request.forms.emplace(), FieldReader{from});
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
                          number(pair, "baseRejected"),
                          number(pair, "klBaseline")};
  });
}

std::vector<SftExample> to_examples(const Napi::Value& value) {
  return each<SftExample>(value, "examples", [](const Napi::Value& item) {
    const Napi::Object example = object(item, "example");
    return SftExample{to_tokens(example.Get("prompt"), "prompt"),
                      to_tokens(example.Get("completion"), "completion")};
  });
}

}  // namespace cream::binding
