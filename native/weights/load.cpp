#include "weights/load.h"

#include <optional>
#include <unordered_set>

#include "model/parameters.h"
#include "support/file.h"
#include "support/json.h"
#include "weights/extent.h"
#include "weights/text_part.h"

namespace cream {

namespace {

constexpr size_t kMaxConfig = 16 << 20;

// Checks that the file holds exactly the model's tensors, with their shapes and convertible types.
void check_tensors(const WeightsReader& reader, const ModelConfig& config,
                   const std::vector<Parameter>& layout, std::string Part::* name,
                   const std::string& source) {
  std::unordered_set<std::string_view> expected;
  for (const Parameter& parameter : layout) {
    for (const Part& part : parameter.parts) {
      const TensorInfo* info = reader.find(part.*name);
      if (!info)
        bad_file(source, "the tensor " + quote(part.*name) +
                             " is missing. Use a complete checkpoint of a causal language model.");
      if (info->shape != part.shape)
        bad_file(source, "the tensor " + quote(part.*name) + " has shape " +
                             shape_text(info->shape) + ", the config asks for " +
                             shape_text(part.shape) +
                             ". Use the config.json that belongs to these weights.");
      convertible_type(*info, source);
      expected.insert(part.*name);
    }
  }
  for (const TensorInfo& info : reader.tensors())
    if (!expected.count(info.name) && !is_redundant(info.name, config))
      bad_file(source, "the tensor " + quote(info.name) +
                           " has no place in the model that the config describes. "
                           "Use the config.json that belongs to these weights.");
}

// The device and dtype of the loaded tensors.
struct Target {
  at::ScalarType dtype;
  at::Device device;
};

// Shapes were checked against the file, so a false config cannot request much more memory than the
// file's size.
Tensor allocate(const Parameter& parameter, at::ScalarType dtype) {
  try {
    return at::empty(parameter.shape, at::TensorOptions().dtype(dtype));
  } catch (const std::exception&) {
    throw Error(ErrorCode::out_of_memory, "There is not enough memory for the parameter " +
                                              quote(parameter.name) + " of shape " +
                                              shape_text(parameter.shape) +
                                              ". Use a smaller model or bfloat16.");
  }
}

Tensor to_device(const Parameter& parameter, const Tensor& tensor, at::Device device) {
  try {
    return tensor.to(device);
  } catch (const c10::OutOfMemoryError&) {
    throw Error(ErrorCode::out_of_memory,
                "There is not enough memory on " + device.str() + " for the parameter " +
                    quote(parameter.name) + " of shape " + shape_text(parameter.shape) +
                    ". Use a smaller model or bfloat16, or dispose of other models there.");
  }
}

NamedTensors read_tensors(const WeightsReader& reader, const std::vector<Parameter>& layout,
                          std::string Part::* name, const Target& target, const Cancel& cancel) {
  NamedTensors out;
  for (const Parameter& parameter : layout) {
    cancel.check();
    Tensor tensor = allocate(parameter, target.dtype);
    int64_t row = 0;
    for (const Part& part : parameter.parts) {
      reader.read_into(part.*name, tensor.narrow(0, row, part.shape[0]));
      row += part.shape[0];
    }
    out.emplace_back(parameter.name, to_device(parameter, tensor, target.device));
  }
  return out;
}

LoadedWeights load_with(const WeightsReader& reader, ModelConfig config, std::string Part::* name,
                        const Target& target, const std::string& path, const Cancel& cancel) {
  const std::vector<Parameter> layout = parameter_layout(config);
  check_tensors(reader, config, layout, name, path);
  return {std::move(config), read_tensors(reader, layout, name, target, cancel), "", ""};
}

// Whether the file of a tied model has a head of its own that differs from the embedding.
// transformers 5 then uses the file's head.
bool has_own_head(const WeightsReader& reader, at::ScalarType dtype) {
  const TensorInfo *head = reader.find("lm_head.weight"),
                   *embedding = reader.find("model.embed_tokens.weight");
  if (!head || !embedding) return false;
  if (head->shape != embedding->shape) return true;
  return !at::equal(reader.read(head->name, dtype), reader.read(embedding->name, dtype));
}

}  // namespace

LoadedWeights load_weights(const std::string& path, at::ScalarType dtype, const Cancel& cancel,
                           at::Device device) {
  if (!is_directory(path)) {
    if (!path.ends_with(".gguf") && file_exists(path))
      throw Error(ErrorCode::invalid_argument,
                  path +
                      " is neither a .gguf file nor a folder with config.json and "
                      "model.safetensors. Name one of these.");
    const std::unique_ptr<GgufReader> reader = open_gguf(path);
    LoadedWeights loaded =
        load_with(*reader, reader->config(), &Part::gguf, {dtype, device}, path, cancel);
    loaded.metadata_json = reader->metadata_json();
    return loaded;
  }
  const std::string config_path = path + "/config.json";
  ModelConfig config = config_from_json(read_file(config_path, kMaxConfig), config_path);
  const auto file = open_safetensors(path);
  std::optional<TextPart> text;
  if (TextPart::is_in(*file)) text.emplace(*file);
  const WeightsReader& reader = text ? static_cast<const WeightsReader&>(*text) : *file;
  if (config.tie_word_embeddings && has_own_head(reader, dtype)) config.tie_word_embeddings = false;
  LoadedWeights loaded =
      load_with(reader, std::move(config), &Part::huggingface, {dtype, device}, path, cancel);
  if (text) loaded.note = text->note();
  return loaded;
}

}  // namespace cream
