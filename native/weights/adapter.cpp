#include "weights/adapter.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <unordered_set>

#include "model/config.h"
#include "support/file.h"
#include "support/json.h"
#include "weights/extent.h"
#include "weights/reader.h"

namespace cream {

namespace {

constexpr size_t kMaxAdapterConfig = 16 << 20;
constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.model.";

// Keys that do not change the adapter's function, and keys that are read below. Every other key
// must be unset, because applying a new variant of PEFT as plain LoRA would give wrong numbers.
const std::unordered_set<std::string_view> kKnown = {"auto_mapping",
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
  // Every other method may change the base's weights, or how the adapter is trained.
  if (start && start->string() && !start->string()->empty() && *start->string() != "gaussian" &&
      *start->string() != "eva" && *start->string() != "orthogonal")
    refuse(source, "init_lora_weights", "is " + quote(*start->string()));
  const JsonValue* layers = root.find("layers_to_transform");  // 0 is the first layer
  if (layers && layers->integer()) refuse(source, "layers_to_transform", "is set");
  for (const JsonMember& member : *root.object())
    if (!kKnown.count(member.key) && !is_empty(member.value)) refuse(source, member.key, "is set");
}

double number(const JsonValue& root, const char* key, double fallback, const std::string& source) {
  const JsonValue* value = root.find(key);
  if (!value || value->is_null()) return fallback;
  double out = 0;
  if (!value->number(out)) wrong(source, key, "must be a number");
  return out;
}

// The modules that an adapter sits on, gathered from names and from paths of single layers.
class TargetModules {
 public:
  // "q_proj", "self_attn.q_proj" or "model.layers.3.self_attn.q_proj".
  void add(const std::string& entry, const std::string& source) {
    const size_t dot = entry.rfind('.');
    const std::string name = entry.substr(dot == std::string::npos ? 0 : dot + 1);
    std::string path = entry.substr(0, entry.size() - name.size());
    int64_t layer = -1;
    constexpr std::string_view kLayers = "model.layers.";
    if (path.starts_with(kLayers)) {
      const char *begin = path.data() + kLayers.size(), *end = path.data() + path.size();
      const auto [rest, error] = std::from_chars(begin, end, layer);
      if (error == std::errc() && layer >= 0 && layer < ConfigLimits::layers && rest != end &&
          *rest == '.')
        path = std::string(rest + 1, end);
    }
    if (!path.empty() && path != "self_attn." && path != "mlp.")
      refuse(source, "target_modules", "names " + quote(entry) + ", a part of the layers");
    auto found = std::find_if(modules_.begin(), modules_.end(),
                              [&](const Module& module) { return module.name == name; });
    if (found == modules_.end()) found = modules_.insert(found, {name, false, {}});
    if (layer < 0)
      found->everywhere = true;
    else
      found->layers.insert(layer);
  }

  // Throws unless every module has an adapter on layers 0 to n−1 with one n for all. Whether n is
  // the model's number of layers is checked when the tensors are read.
  std::vector<std::string> names(const std::string& source) const {
    size_t layers = 0;
    for (const Module& module : modules_) layers = std::max(layers, module.layers.size());
    std::vector<std::string> out;
    for (const Module& module : modules_) {
      const bool all = module.layers.size() == layers &&
                       (layers == 0 || *module.layers.rbegin() + 1 == static_cast<int64_t>(layers));
      if (!module.everywhere && !all)
        refuse(source, "target_modules",
               "names " + quote(module.name) + " of some layers, a part of the layers");
      out.push_back(module.name);
    }
    return out;
  }

 private:
  struct Module {
    std::string name;
    bool everywhere;
    std::set<int64_t> layers;
  };
  std::vector<Module> modules_;
};

void read_targets(const JsonValue& root, const std::string& source, AdapterConfig& out) {
  const JsonValue* value = root.find("target_modules");
  if (!value || value->is_null()) wrong(source, "target_modules", "is missing");
  if (value->string()) {
    if (value->string()->empty()) wrong(source, "target_modules", "is empty");
    if (*value->string() != "all-linear") out.target_pattern = *value->string();
    return;
  }
  if (!value->array() || value->array()->empty())
    wrong(source, "target_modules", "must be a list of module names");
  TargetModules modules;
  for (const JsonValue& entry : *value->array()) {
    if (!entry.string()) wrong(source, "target_modules", "must be a list of module names");
    modules.add(*entry.string(), source);
  }
  out.params.targets = modules.names(source);
}

// The modules that have tensors in the file. PEFT's pattern is a Python regular expression, so the
// modules are taken from the names of the saved tensors instead.
std::vector<std::string> targets_of_tensors(const std::string& directory,
                                            const std::string& source) {
  const std::string path = directory + "/" + kWeightsFile;
  constexpr std::string_view kModel = "base_model.model.", kHalf = ".lora_A.weight";
  TargetModules modules;
  bool any = false;
  const auto reader = open_safetensors(path);
  for (const TensorInfo& info : reader->tensors()) {
    if (!info.name.starts_with(kModel) || !info.name.ends_with(kHalf)) continue;
    modules.add(info.name.substr(kModel.size(), info.name.size() - kModel.size() - kHalf.size()),
                source);
    any = true;
  }
  if (!any) bad_file(path, "it holds no tensor of a LoRA adapter; fetch the adapter again.");
  return modules.names(source);
}

std::string file_name(const std::string& parameter) { return kPrefix + parameter + ".weight"; }

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
  const JsonValue root = parse_json(json, source, JsonNumbers::python);
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
  read_targets(root, source, out);
  const JsonValue* base = root.find("base_model_name_or_path");
  if (base && base->string()) out.base_model = *base->string();
  return out;
}

AdapterConfig read_adapter_config(const std::string& directory) {
  const std::string path = directory + "/" + kConfigFile;
  AdapterConfig config = parse_adapter_config(read_file(path, kMaxAdapterConfig), path);
  if (!config.target_pattern.empty()) config.params.targets = targets_of_tensors(directory, path);
  return config;
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
