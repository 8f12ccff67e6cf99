// Writes safetensors: equal tensors and metadata give equal bytes; tensors are converted and
// written in chunks.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include <dirent.h>

#include "model/parameters.h"
#include "support/file.h"
#include "support/json.h"
#include "weights/load.h"

namespace cream {

namespace {

const char* dtype_name(at::ScalarType dtype, const std::string& tensor) {
  switch (dtype) {
    case at::kFloat:
      return "F32";
    case at::kBFloat16:
      return "BF16";
    case at::kHalf:
      return "F16";
    case at::kLong:
      return "I64";
    case at::kInt:
      return "I32";
    case at::kShort:
      return "I16";
    case at::kByte:
      return "U8";
    default:
      throw Error(ErrorCode::internal,
                  "The tensor " + quote(tensor) +
                      " has a dtype that the safetensors writer does not know.");
  }
}

using Metadata = std::vector<std::pair<std::string, std::string>>;

// One tensor to write: `tensor` converted to `dtype`.
struct Entry {
  std::string name;
  Tensor tensor;
  at::ScalarType dtype;
  uint64_t element() const { return c10::elementSize(dtype); }
  uint64_t bytes() const { return static_cast<uint64_t>(tensor.numel()) * element(); }
};

std::string header_text(const std::vector<Entry>& entries, Metadata metadata) {
  std::sort(metadata.begin(), metadata.end());
  JsonWriter out;
  out.begin_object();
  if (!metadata.empty()) {
    out.key("__metadata__"), out.begin_object();
    for (const auto& [key, value] : metadata) out.key(key), out.value(value);
    out.end_object();
  }
  uint64_t offset = 0;
  for (const Entry& entry : entries) {
    out.key(entry.name), out.begin_object();
    out.key("dtype"), out.value(dtype_name(entry.dtype, entry.name));
    out.key("shape"), out.begin_array();
    for (const int64_t size : entry.tensor.sizes()) out.value(size);
    out.end_array();
    out.key("data_offsets"), out.begin_array(), out.value(offset),
        out.value(offset + entry.bytes()), out.end_array();
    out.end_object();
    offset += entry.bytes();
  }
  out.end_object();
  std::string text = out.take();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so the data starts at a multiple of 8
  return text;
}

void write_entry(AtomicFile& file, const Entry& entry, const Cancel& cancel) {
  constexpr int64_t kChunk = 1 << 22;  // elements converted at a time
  const Tensor flat = entry.tensor.detach().contiguous().view(-1);
  for (int64_t begin = 0; begin < flat.numel(); begin += kChunk) {
    cancel.check();
    const Tensor chunk = flat.slice(0, begin, std::min(begin + kChunk, flat.numel()))
                             .to(at::kCPU, entry.dtype)
                             .contiguous();
    file.write(chunk.const_data_ptr(), static_cast<size_t>(chunk.numel()) * entry.element());
  }
}

// The file is complete and not yet committed.
std::unique_ptr<AtomicFile> write_entries(const std::string& path, std::vector<Entry> entries,
                                          const Metadata& metadata, const Cancel& cancel,
                                          const MakeDigest& digest = {}) {
  // Wide elements first keeps every tensor aligned to its element; names make the order a function
  // of the content alone.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.element() != b.element() ? a.element() > b.element() : a.name < b.name;
  });
  const std::string header = header_text(entries, metadata);
  const uint64_t length = header.size();
  auto file = std::make_unique<AtomicFile>(path, digest ? digest() : nullptr);
  file->write(&length, sizeof length);
  file->write(header.data(), header.size());
  for (const Entry& entry : entries) write_entry(*file, entry, cancel);
  return file;
}

// Engine parameters back to the tensors that Hugging Face knows, in the engine's order.
std::vector<Entry> split_parameters(const ModelConfig& config, const NamedTensors& tensors,
                                    at::ScalarType dtype) {
  std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
  std::vector<Entry> out;
  for (const Parameter& parameter : parameter_layout(config)) {
    const auto found = by_name.find(parameter.name);
    if (found == by_name.end() || found->second.sizes() != at::IntArrayRef(parameter.shape))
      throw Error(ErrorCode::internal,
                  "The parameter " + quote(parameter.name) +
                      " is missing or has a wrong shape, so the model cannot be saved.");
    int64_t row = 0;
    for (const Part& part : parameter.parts) {
      out.push_back({part.huggingface, found->second.narrow(0, row, part.shape[0]), dtype});
      row += part.shape[0];
    }
  }
  return out;
}

std::vector<std::vector<Entry>> cut_shards(std::vector<Entry> entries, uint64_t most) {
  std::vector<std::vector<Entry>> shards(1);
  uint64_t used = 0;
  for (Entry& entry : entries) {
    if (!shards.back().empty() && used + entry.bytes() > most) shards.emplace_back(), used = 0;
    used += entry.bytes();
    shards.back().push_back(std::move(entry));
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  const auto five = [](size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
  };
  return "model-" + five(index + 1) + "-of-" + five(count) + ".safetensors";
}

std::string index_text(const std::vector<std::vector<Entry>>& shards) {
  std::map<std::string, std::string> map;
  uint64_t bytes = 0;
  for (size_t i = 0; i < shards.size(); ++i)
    for (const Entry& entry : shards[i])
      map[entry.name] = shard_name(i, shards.size()), bytes += entry.bytes();
  JsonWriter out;
  out.begin_object();
  out.key("metadata"), out.begin_object(), out.key("total_size"), out.value(bytes),
      out.end_object();
  out.key("weight_map"), out.begin_object();
  for (const auto& [tensor, file] : map) out.key(tensor), out.value(file);
  out.end_object();
  out.end_object();
  return out.take() + "\n";
}

// Removes files of an earlier save with another number of shards: they would be read instead of
// these or waste space.
void remove_other_weights(const std::string& dir, const std::vector<std::string>& keep) {
  std::vector<std::string> stale;
  DIR* folder = ::opendir(dir.c_str());
  if (!folder) return;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    const bool shard = name.size() == shard_name(0, 1).size() && name.starts_with("model-") &&
                       name.substr(11, 4) == "-of-" && name.ends_with(".safetensors");
    const bool ours =
        shard || name == "model.safetensors" || name == "model.safetensors.index.json";
    if (ours && std::find(keep.begin(), keep.end(), name) == keep.end()) stale.push_back(name);
  }
  ::closedir(folder);
  for (const std::string& name : stale) remove_file(dir + "/" + name);
}

}  // namespace

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const Metadata& metadata) {
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back({name, tensor, tensor.scalar_type()});
  write_entries(path, std::move(entries), metadata, Cancel())->commit();
}

std::vector<SavedFile> save_weights(const std::string& dir, const ModelConfig& config,
                                    const NamedTensors& tensors, at::ScalarType dtype,
                                    int64_t max_shard_bytes, const Cancel& cancel,
                                    const MakeDigest& digest) {
  const Metadata metadata = {{"format", "pt"}};  // transformers refuses a file without it
  const std::vector<std::vector<Entry>> shards =
      cut_shards(split_parameters(config, tensors, dtype),
                 static_cast<uint64_t>(std::max<int64_t>(1, max_shard_bytes)));
  const bool single = shards.size() == 1;
  std::vector<std::string> keep;
  std::vector<SavedFile> saved;
  std::vector<std::unique_ptr<AtomicFile>> files;
  for (size_t i = 0; i < shards.size(); ++i) {
    keep.push_back(single ? "model.safetensors" : shard_name(i, shards.size()));
    files.push_back(write_entries(dir + "/" + keep.back(), shards[i], metadata, cancel, digest));
    saved.push_back({keep.back(), files.back()->bytes(), files.back()->sha256()});
  }
  for (const auto& file : files) file->commit();
  if (!single) {
    keep.push_back("model.safetensors.index.json");
    write_file_atomic(dir + "/" + keep.back(), index_text(shards));
  }
  remove_other_weights(dir, keep);
  return saved;
}

}  // namespace cream
