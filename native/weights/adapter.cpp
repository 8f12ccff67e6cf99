#include "weights/adapter.h"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <unordered_set>

#include "support/file.h"
#include "support/json.h"
#include "weights/extent.h"
#include "weights/reader.h"

namespace cream {

namespace {

constexpr size_t kMaxConfig = 16 << 20;
constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.model.";

// Keys that say nothing about what the adapter computes, and those that are read below. Every other
// key must be unset: PEFT grows new variants, and one of them applied as plain LoRA would be
// silently wrong.
const std::unordered_set<std::string_view> kKnown = {"alora_invocation_string",
                                                     "auto_mapping",
                                                     "base_model_name_or_path",
                                                     "bias",
                                                     "corda_config",
                                                     "ensure_weight_tying",
                                                     "eva_config",
                                                     "inference_mode",
                                                     "init_lora_weights",
                                                     "loftq_config",
                                                     "lora_alpha",
                                                     "lora_dropout",
                                                     "lora_ga_config",
                                                     "megatron_core",
                                                     "peft_type",
                                                     "peft_version",
                                                     "qalora_group_size",
                                                     "r",
                                                     "revision",
                                                     "runtime_config",
                                                     "target_modules",
                                                     "task_type",
                                                     "use_rslora"};

[[noreturn]] void refuse(const std::string& source, const std::string& key,
                         const std::string& what) {
  throw Error(ErrorCode::unsupported,
              source + ": " + key + " " + what +
                  ", which this engine does not implement. Use a plain LoRA adapter.");
}

[[noreturn]] void wrong(const std::string& source, const std::string& key,
                        const std::string& what) {
  throw Error(ErrorCode::invalid_file, source + ": " + key + " " + what + ".");
}

// null, false, 0, "", [] and {}: the key is there, and asks for nothing.
bool unset(const JsonValue& value) {
  double number = 1;
  if (value.is_null()) return true;
  if (value.boolean()) return !*value.boolean();
  if (value.number(number)) return number == 0;
  if (value.string()) return value.string()->empty();
  if (value.array()) return value.array()->empty();
  return value.object()->empty();
}

void refuse_variants(const JsonValue& root, const std::string& source) {
  const JsonValue* type = root.find("peft_type");
  if (!type || !type->string())
    wrong(source, "peft_type", "is missing or no string; this is no adapter_config.json of PEFT");
  if (*type->string() != "LORA")
    refuse(source, "peft_type", "is " + quote(*type->string()) + " instead of \"LORA\"");
  const JsonValue* bias = root.find("bias");
  if (bias && !bias->is_null() && (!bias->string() || *bias->string() != "none"))
    refuse(source, "bias", "is not \"none\"");
  const JsonValue* start = root.find("init_lora_weights");
  for (const char* method :
       {"pissa", "olora", "corda", "loftq", "lora_ga"})  // they change the base's weights as well
    if (start && start->string() && start->string()->starts_with(method))
      refuse(source, "init_lora_weights", "is " + quote(*start->string()));
  for (const JsonMember& member : *root.object())
    if (!kKnown.count(member.key) && !unset(member.value)) refuse(source, member.key, "is set");
}

double number(const JsonValue& root, const char* key, double fallback, const std::string& source) {
  const JsonValue* value = root.find(key);
  if (!value || value->is_null()) return fallback;
  double out = 0;
  if (!value->number(out)) wrong(source, key, "must be a number");
  return out;
}

// "q_proj", or a path that ends with it.
std::string module_name(const std::string& entry, const std::string& source) {
  const std::string name =
      entry.substr(entry.rfind('.') == std::string::npos ? 0 : entry.rfind('.') + 1);
  const std::string path = entry.substr(0, entry.size() - name.size());
  // One layer's path would put an adapter on that layer alone.
  if (!path.empty() && path != "self_attn." && path != "mlp.")
    refuse(source, "target_modules", "names " + quote(entry) + ", a part of the layers");
  return name;
}

std::vector<std::string> targets(const JsonValue& root, const std::string& source) {
  const JsonValue* value = root.find("target_modules");
  if (!value || value->is_null()) wrong(source, "target_modules", "is missing");
  if (value->string()) {
    if (*value->string() == "all-linear") return {};
    refuse(source, "target_modules", "is the pattern " + quote(*value->string()));
  }
  if (!value->array() || value->array()->empty())
    wrong(source, "target_modules", "must be a list of module names");
  std::vector<std::string> names;
  for (const JsonValue& entry : *value->array()) {
    if (!entry.string()) wrong(source, "target_modules", "must be a list of module names");
    const std::string name = module_name(*entry.string(), source);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string file_name(const std::string& parameter) { return kPrefix + parameter + ".weight"; }

std::string shape_text(at::IntArrayRef shape) {
  std::ostringstream out;
  out << shape;
  return out.str();
}

std::string config_text(const AdapterConfig& config) {
  const LoraParams& p = config.params;
  JsonWriter out;
  out.begin_object();
  out.key("base_model_name_or_path");
  config.base_model.empty() ? out.null() : out.value(config.base_model);
  out.key("bias"), out.value("none");
  out.key("fan_in_fan_out"), out.value(false);
  out.key("inference_mode"), out.value(true);
  out.key("init_lora_weights"), out.value(true);
  out.key("lora_alpha");
  std::trunc(p.alpha) == p.alpha&& std::abs(p.alpha) < 1e15
      ? out.value(static_cast<int64_t>(p.alpha))
      : out.value(p.alpha);
  out.key("lora_dropout"), out.value(p.dropout);
  out.key("modules_to_save"), out.null();
  out.key("peft_type"), out.value("LORA");
  out.key("r"), out.value(p.rank);
  out.key("target_modules"), out.begin_array();
  for (const std::string& name : p.targets) out.value(name);
  out.end_array();
  out.key("task_type"), out.value("CAUSAL_LM");
  out.key("use_dora"), out.value(false);
  out.key("use_rslora"), out.value(p.rslora);
  out.end_object();
  return out.take() + "\n";
}

}  // namespace

AdapterConfig parse_adapter_config(const std::string& json, const std::string& source) {
  const JsonValue root = parse_json(json, source);
  if (!root.object())
    throw Error(ErrorCode::invalid_file,
                source + ": a JSON object is expected, as PEFT's adapter_config.json.");
  refuse_variants(root, source);
  AdapterConfig out;
  const JsonValue* rank = root.find("r");
  if (!rank || !rank->integer() || *rank->integer() < 1 || *rank->integer() > 1 << 16)
    wrong(source, "r", "must be a whole number from 1 to 65536");
  out.params.rank = *rank->integer();
  out.params.alpha = number(root, "lora_alpha", 8, source);
  out.params.dropout = number(root, "lora_dropout", 0, source);
  if (!(out.params.dropout >= 0 && out.params.dropout < 1))
    wrong(source, "lora_dropout", "must be at least 0 and below 1");
  const JsonValue* rslora = root.find("use_rslora");
  if (rslora && !rslora->is_null() && !rslora->boolean())
    wrong(source, "use_rslora", "must be true or false");
  out.params.rslora = rslora && rslora->boolean() && *rslora->boolean();
  out.params.targets = targets(root, source);
  const JsonValue* base = root.find("base_model_name_or_path");
  if (base && base->string()) out.base_model = *base->string();
  return out;
}

AdapterConfig read_adapter_config(const std::string& directory) {
  const std::string path = directory + "/" + kConfigFile;
  return parse_adapter_config(read_file(path, kMaxConfig), path);
}

NamedTensors read_adapter_tensors(
    const std::string& directory,
    const std::vector<std::pair<std::string, std::vector<int64_t>>>& layout) {
  const std::string path = directory + "/" + kWeightsFile;
  const auto reader = open_safetensors(path);
  std::unordered_set<std::string> expected;
  NamedTensors out;
  for (const auto& [name, shape] : layout) {
    const std::string theirs = file_name(name);
    const TensorInfo* info = reader->find(theirs);
    if (!info)
      bad_file(path, "the tensor " + quote(theirs, 160) +
                         " is missing; the adapter was made for another base model, or its config "
                         "lists other modules.");
    if (info->shape != shape)
      bad_file(path, "the tensor " + quote(theirs, 160) + " has shape " + shape_text(info->shape) +
                         ", this base model asks for " + shape_text(shape) +
                         "; load the adapter on the base model that it was made for.");
    convertible_type(*info, path);
    expected.insert(theirs);
    out.emplace_back(name, reader->read(theirs, at::kFloat));
    if (!at::isfinite(out.back().second).all().item<bool>())
      bad_file(path, "the tensor " + quote(theirs, 160) +
                         " holds values that are not finite; fetch the adapter again.");
  }
  for (const TensorInfo& info : reader->tensors())
    if (!expected.count(info.name))
      bad_file(path, "the tensor " + quote(info.name, 160) +
                         " has no place on this base model; the adapter was made for another one, "
                         "or its config lists other modules.");
  return out;
}

void save_adapter(const std::string& directory, const AdapterConfig& config,
                  const NamedTensors& tensors, at::ScalarType dtype) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw io_error("Could not create the folder", directory, error.value());
  NamedTensors named;
  for (const auto& [name, tensor] : tensors) named.emplace_back(file_name(name), tensor.to(dtype));
  write_safetensors(directory + "/" + kWeightsFile, named, {{"format", "pt"}});
  write_file_atomic(directory + "/" + kConfigFile, config_text(config));
}

}  // namespace cream
