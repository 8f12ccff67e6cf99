// The trainer's state as one safetensors file: master.NAME, m.NAME and v.NAME in fp32, step count and settings as metadata.
// A load checks names, shapes, values and settings before the first tensor is touched.
#include <charconv>

#include "ops/adamw/op.h"
#include "train/trainer.h"
#include "weights/load.h"
#include "weights/reader.h"

namespace cream {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kFormat = "cream-lm trainer state 1";

std::string text_of(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr};  // shortest that reads back the same
}

// What the updates depend on: a state continues exactly only under the same settings.
Metadata settings_of(const TrainerParams& params) {
  const OptimizerParams& o = params.optimizer;
  constexpr const char* schedules[] = {"constant", "linear", "cosine"};
  return {{"learning_rate", text_of(o.learning_rate)},
          {"beta1", text_of(o.beta1)},
          {"beta2", text_of(o.beta2)},
          {"epsilon", text_of(o.epsilon)},
          {"weight_decay", text_of(o.weight_decay)},
          {"max_grad_norm", text_of(o.max_grad_norm)},
          {"schedule", schedules[static_cast<int>(o.schedule)]},
          {"warmup_steps", std::to_string(o.warmup_steps)},
          {"total_steps", std::to_string(o.total_steps)},
          {"beta", text_of(params.beta)}};
}

// A state's tensors: views of the optimizer's own.
std::vector<NamedTensor> tensors_of(const std::vector<OptimizerEntry>& entries) {
  std::vector<NamedTensor> tensors;
  for (const OptimizerEntry& entry : entries) {
    tensors.emplace_back("master." + entry.name, entry.master);
    tensors.emplace_back("m." + entry.name, entry.m);
    tensors.emplace_back("v." + entry.name, entry.v);
  }
  return tensors;
}

Error damaged(const std::string& path, const std::string& what) {
  return Error(ErrorCode::invalid_file, path + " is not a trainer state of this model: " + what + "; train from the start of the stage instead.");
}

const std::string* find(const Metadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata)
    if (name == key) return &value;
  return nullptr;
}

int64_t check_metadata(const std::string& path, const Metadata& metadata, const TrainerParams& params) {
  const std::string* format = find(metadata, "format");
  if (format == nullptr || *format != kFormat) throw damaged(path, std::string("its metadata does not say \"") + kFormat + "\"");
  for (const auto& [key, value] : settings_of(params)) {
    const std::string* saved = find(metadata, key);
    if (saved == nullptr) throw damaged(path, "its metadata has no " + key);
    if (*saved != value)
      throw Error(ErrorCode::invalid_argument, path + " was saved with " + key + " " + *saved + ", this trainer has " + value +
                                                   "; give the trainer the settings that the state was saved with.");
  }
  const std::string* text = find(metadata, "step");
  int64_t step = -1;
  if (text != nullptr && std::from_chars(text->data(), text->data() + text->size(), step).ptr != text->data() + text->size()) step = -1;
  if (step < 0) throw damaged(path, "its step count is not a number");
  return step;
}

void check_tensors(const std::string& path, const SafetensorsReader& reader, const std::vector<NamedTensor>& expected) {
  if (reader.tensors().size() != expected.size())
    throw damaged(path, "it holds " + std::to_string(reader.tensors().size()) + " tensors, not " + std::to_string(expected.size()));
  for (const auto& [name, tensor] : expected) {
    const TensorInfo* info = reader.find(name);
    if (info == nullptr) throw damaged(path, "it has no tensor '" + name + "'");
    if (info->dtype != "F32" || at::IntArrayRef(info->shape) != tensor.sizes())
      throw damaged(path, "tensor '" + name + "' has another shape or is not F32");
    if (!std::isfinite(ops::sum_of_squares(reader.read(name, at::kFloat))))
      throw damaged(path, "tensor '" + name + "' holds values that are not finite");
  }
}

}  // namespace

void Trainer::save_state(const std::string& path) const {
  Metadata metadata = settings_of(params_);
  metadata.emplace_back("format", kFormat);
  metadata.emplace_back("step", std::to_string(optimizer_.step_count()));
  write_safetensors(path, tensors_of(optimizer_.entries()), metadata);
}

void Trainer::load_state(const std::string& path) {
  const auto reader = open_safetensors(path);
  const auto tensors = tensors_of(optimizer_.entries());
  const int64_t step = check_metadata(path, reader->metadata(), params_);
  check_tensors(path, *reader, tensors);
  for (const auto& [name, tensor] : tensors) reader->read_into(name, tensor);
  optimizer_.set_step_count(step);
  optimizer_.rewrite_weights();
  optimizer_.zero_gradients();
  model_.weights().pack();
}

}  // namespace cream
