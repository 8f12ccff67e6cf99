// The trainer's state as one safetensors file: master.NAME, m.NAME and v.NAME in fp32, with step
// count and settings as metadata. Forms that save memory are stored bit for bit: split masters as
// weight.NAME and remainder.NAME, 8-bit moments with m_scale.NAME and v_scale.NAME. Loading checks
// names, shapes, values and settings before it changes any tensor.
//
// Ranks that shard the states write a file each, with "shard" and "shards" in its metadata and flat
// tensors: the elements of shard_of(). A rank that loads reads what overlaps with its own shard.
#include <charconv>

#include "ops/adamw/kernel.h"
#include "ops/adamw/op.h"
#include "train/trainer.h"
#include "weights/load.h"
#include "weights/reader.h"

namespace cream {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kFormat = "cream-lm trainer state 4";

std::string text_of(double value) {
  char buffer[32];  // the shortest text that reads back as the same double
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr};
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : " ") + name;
  return out;
}

// The adapter's settings that affect updates; without an adapter the same keys are written.
Metadata adapter_settings(const std::optional<LoraParams>& lora, uint64_t dropout_seed) {
  const LoraParams none;
  const LoraParams& l = lora ? *lora : none;
  return {{"lora_rank", std::to_string(l.rank)},
          {"lora_alpha", text_of(l.alpha)},
          {"lora_dropout", text_of(l.dropout)},
          {"lora_use_rslora", l.rslora ? "true" : "false"},
          {"lora_target_modules", lora ? joined(l.targets) : "none"},
          {"dropout_seed", std::to_string(l.dropout > 0 ? dropout_seed : 0)}};
}

// `learningRate` → `learning_rate`
std::string snake_case(const char* name) {
  std::string out;
  for (; *name != 0; ++name) {
    const bool upper = *name >= 'A' && *name <= 'Z';
    if (upper) out += '_';
    out += upper ? static_cast<char>(*name - 'A' + 'a') : *name;
  }
  return out;
}

// For each_setting() of support/types.h.
struct SettingRecorder {
  Metadata& settings;

  void operator()(const char* name, double value) const { add(name, text_of(value)); }
  void operator()(const char* name, int64_t value) const { add(name, std::to_string(value)); }
  template <class Choice>
  void operator()(const char* name, Choice value, Words words) const {
    add(name, words.begin()[static_cast<int>(value)]);
  }
  void add(const char* name, std::string value) const {
    settings.emplace_back(snake_case(name), std::move(value));
  }
};

// The settings that affect updates; a resumed state must have the same ones.
Metadata settings_of(const TrainerParams& params, const std::optional<LoraParams>& lora) {
  Metadata settings;
  each_setting(params, SettingRecorder{settings});
  for (auto& setting : adapter_settings(lora, params.dropout_seed))
    settings.push_back(std::move(setting));
  return settings;
}

// A tensor of a state: the optimizer's own, or this rank's shard of it.
struct StateTensor {
  std::string name;
  Tensor own;
  std::vector<int64_t> shape;  // of the whole
  int64_t begin;               // of the own elements in the whole
  int64_t parameter;           // elements of the parameter
  int64_t block;               // elements of the parameter per element

  // The elements that shard `shard` of `shards` has.
  Shard part(int shard, int shards) const {
    const Shard of = shard_of(parameter, ops::kStateBlock, shard, shards);
    return {of.begin / block, (of.end + block - 1) / block, of.stride / block};
  }
};

std::vector<StateTensor> tensors_of(const Optimizer& optimizer) {
  std::vector<StateTensor> tensors;
  for (const OptimizerEntry& entry : optimizer.entries()) {
    const int64_t n = entry.parameter.numel(), begin = entry.shard.begin;
    constexpr int64_t block = ops::kStateBlock;
    const bool split = entry.remainder.defined();
    const std::pair<const char*, Tensor> parts[] = {{"master.", entry.master},
                                                    {"weight.", split ? entry.weight : Tensor()},
                                                    {"remainder.", entry.remainder},
                                                    {"m.", entry.m},
                                                    {"v.", entry.v},
                                                    {"m_scale.", entry.m_scale},
                                                    {"v_scale.", entry.v_scale}};
    for (const auto& [part, tensor] : parts) {
      if (!tensor.defined()) continue;
      const bool scales = tensor.is_same(entry.m_scale) || tensor.is_same(entry.v_scale);
      const std::vector<int64_t> shape =
          scales ? std::vector<int64_t>{(n + block - 1) / block} : entry.parameter.sizes().vec();
      tensors.push_back({part + entry.name, tensor, shape, scales ? begin / block : begin, n,
                         scales ? block : 1});
    }
  }
  return tensors;
}

Error damaged(const std::string& path, const std::string& what) {
  return Error(ErrorCode::invalid_file, path + " is not a trainer state of this model: " + what +
                                            "; train from the start of the stage instead.");
}

const std::string* find(const Metadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata)
    if (name == key) return &value;
  return nullptr;
}

int64_t check_metadata(const std::string& path, const Metadata& metadata,
                       const Metadata& settings) {
  const std::string* format = find(metadata, "format");
  if (format == nullptr || *format != kFormat)
    throw damaged(path, std::string("its metadata does not say \"") + kFormat + "\"");
  for (const auto& [key, value] : settings) {
    const std::string* saved = find(metadata, key);
    if (saved == nullptr) throw damaged(path, "its metadata has no " + key);
    if (*saved != value)
      throw Error(ErrorCode::invalid_argument,
                  path + " was saved with " + key + " " + *saved + ", this trainer has " + value +
                      "; give the trainer the settings that the state was saved with.");
  }
  const std::string* text = find(metadata, "step");
  int64_t step = -1;
  if (text != nullptr) {
    const char* const end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, step);
    if (error != std::errc() || stop != end) step = -1;
  }
  constexpr int64_t kMostSteps = int64_t{1} << 53;  // AdamW's bias corrections count in doubles
  if (step < 0 || step > kMostSteps) throw damaged(path, "its step count is not a number of steps");
  return step;
}

const char* dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kBFloat16:
      return "BF16";
    case at::kShort:
      return "I16";
    case at::kByte:
      return "U8";
    default:
      return "F32";
  }
}

// A file of a state; shards = 1: it has the whole state.
struct StateFile {
  std::string path;
  std::unique_ptr<SafetensorsReader> reader;
  int shard = 0, shards = 1;

  // The elements of `one` that the file has.
  Shard part(const StateTensor& one) const {
    if (shards == 1) return {0, c10::multiply_integers(one.shape), 0};
    return one.part(shard, shards);
  }
  // Those that this rank owns too; empty if begin ≥ end.
  Shard overlap(const StateTensor& one) const {
    const Shard of = part(one);
    return {std::max(of.begin, one.begin), std::min(of.end, one.begin + one.own.numel()), 0};
  }
};

void check_shard(const StateFile& file) {
  const auto number = [&](const char* key) {
    const std::string* const text = find(file.reader->metadata(), key);
    return text == nullptr ? std::string("1") : *text;
  };
  if (number("shards") == std::to_string(file.shards) &&
      number("shard") == std::to_string(file.shard + 1))
    return;
  throw damaged(file.path, "it is shard " + number("shard") + " of " + number("shards") + ", not " +
                               std::to_string(file.shard + 1) + " of " +
                               std::to_string(file.shards));
}

void check_values(const StateFile& file, const std::string& name) {
  const Tensor value = file.reader->read(name, at::kFloat);
  if (!std::isfinite(ops::sum_of_squares(value)))
    throw damaged(file.path, "tensor '" + name + "' holds values that are not finite");
  const bool squares =
      name.starts_with("v.") || name.starts_with("v_scale.") || name.starts_with("m_scale.");
  if (squares && value.numel() > 0 && value.min().item<float>() < 0)
    throw damaged(file.path,
                  "tensor '" + name +
                      "' holds negative values, and it is a mean of squares or a largest value");
}

// Checks names, dtypes and shapes of all tensors, and the values of those that are read.
void check_tensors(const StateFile& file, const std::vector<StateTensor>& expected,
                   const Cancel& cancel) {
  if (file.reader->tensors().size() != expected.size())
    throw damaged(file.path, "it holds " + std::to_string(file.reader->tensors().size()) +
                                 " tensors, not " + std::to_string(expected.size()));
  for (const StateTensor& one : expected) {
    cancel.check();
    const TensorInfo* info = file.reader->find(one.name);
    if (info == nullptr) throw damaged(file.path, "it has no tensor '" + one.name + "'");
    const Shard part = file.part(one), overlap = file.overlap(one);
    const std::vector<int64_t> shape =
        file.shards == 1 ? one.shape : std::vector<int64_t>{part.size()};
    if (info->dtype != dtype_of(one.own) || info->shape != shape)
      throw damaged(file.path,
                    "tensor '" + one.name + "' has another shape or is not " + dtype_of(one.own));
    // Every bit pattern of integer codes and remainders is valid.
    if (one.own.is_floating_point() && overlap.size() > 0) check_values(file, one.name);
  }
}

void read_overlap(const StateFile& file, const StateTensor& one) {
  const Shard part = file.part(one), overlap = file.overlap(one);
  if (overlap.size() <= 0) return;
  if (one.own.is_cpu() && overlap.size() == one.own.numel() && overlap.size() == part.size())
    return file.reader->read_bytes(one.name, one.own);
  const Tensor here = at::empty({part.size()}, one.own.options().device(at::kCPU));
  file.reader->read_bytes(one.name, here);
  one.own.view({-1})
      .narrow(0, overlap.begin - one.begin, overlap.size())
      .copy_(here.narrow(0, overlap.begin - part.begin, overlap.size()));
}

}  // namespace

void Trainer::save_state(const std::string& path) const {
  Metadata metadata = settings_of(params_, model_.weights().lora);
  metadata.emplace_back("format", kFormat);
  metadata.emplace_back("step", std::to_string(optimizer_.step_count()));
  const Group& group = optimizer_.group();
  if (optimizer_.sharded()) {
    metadata.emplace_back("shard", std::to_string(group.rank() + 1));
    metadata.emplace_back("shards", std::to_string(group.size()));
  }
  std::vector<NamedTensor> tensors;
  for (const StateTensor& one : tensors_of(optimizer_)) tensors.emplace_back(one.name, one.own);
  if (optimizer_.sharded() || writes()) write_safetensors(path, tensors, metadata);
}

void Trainer::load_state(const std::vector<std::string>& paths, const Cancel& cancel) {
  const auto tensors = tensors_of(optimizer_);
  std::vector<StateFile> files;
  int64_t step = 0;
  const auto open = [&] {
    const Metadata settings = settings_of(params_, model_.weights().lora);
    const int shards = static_cast<int>(paths.size());
    for (int shard = 0; shard < shards; ++shard) {
      files.push_back({paths[shard], open_safetensors(paths[shard]), shard, shards});
      const StateFile& file = files.back();
      const int64_t its = check_metadata(file.path, file.reader->metadata(), settings);
      if (shard > 0 && its != step)
        throw damaged(file.path, "it is of step " + std::to_string(its) +
                                     ", and the first shard of "
                                     "step " +
                                     std::to_string(step));
      step = its;
      check_shard(file);
      check_tensors(file, tensors, cancel);
    }
  };
  agree(open);
  for (const StateTensor& one : tensors)
    for (const StateFile& file : files) read_overlap(file, one);
  optimizer_.set_step_count(step);
  optimizer_.rewrite_weights();
  optimizer_.zero_gradients();
  weights_changed();
}

}  // namespace cream
