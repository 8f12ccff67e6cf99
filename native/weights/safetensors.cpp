// safetensors: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, the
// tensors without a gap. A large model is cut into shards, listed by model.safetensors.index.json.
#include <algorithm>
#include <cstring>

#include "support/file.h"
#include "support/json.h"
#include "support/mmap.h"
#include "weights/extent.h"
#include "weights/reader.h"

namespace cream {

namespace {

constexpr size_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kMaxIndex = 100'000'000;

// A list of whole numbers from 0.
std::vector<int64_t> whole_numbers(const JsonValue* value, const std::string& what,
                                   const std::string& source) {
  const JsonArray* array = value ? value->array() : nullptr;
  if (!array) bad_file(source, what + " is not a list.");
  std::vector<int64_t> out;
  for (const JsonValue& item : *array) {
    const int64_t* number = item.integer();
    if (!number || *number < 0)
      bad_file(source, what + " holds something other than whole numbers from 0.");
    out.push_back(*number);
  }
  return out;
}

TensorInfo parse_entry(const std::string& name, const JsonValue& entry, uint64_t data_begin,
                       uint64_t size, const std::string& source) {
  const std::string where = "the tensor " + quote(name) + ": ";
  if (!entry.object() || entry.object()->size() != 3)
    bad_file(source, where + "dtype, shape and data_offsets are expected.");
  const JsonValue* dtype = entry.find("dtype");
  if (!dtype || !dtype->string()) bad_file(source, where + "dtype is missing or no string.");
  const ElementType* type = element_type(*dtype->string());
  if (!type || type->block != 1)
    bad_file(source, where + "unknown dtype " + quote(*dtype->string()) + ".");
  TensorInfo info{name, whole_numbers(entry.find("shape"), where + "shape", source), type->name};
  if (info.shape.size() > 8) bad_file(source, where + "more than 8 dimensions.");
  const std::vector<int64_t> offsets =
      whole_numbers(entry.find("data_offsets"), where + "data_offsets", source);
  if (offsets.size() != 2 || offsets[1] < offsets[0])
    bad_file(source, where + "data_offsets must be [begin, end].");
  info.bytes = checked_bytes(*type, info, source);
  if (info.bytes != static_cast<uint64_t>(offsets[1] - offsets[0]))
    bad_file(source, where + "dtype and shape take " + std::to_string(info.bytes) +
                         " bytes, data_offsets hold " + std::to_string(offsets[1] - offsets[0]) +
                         ".");
  if (static_cast<uint64_t>(offsets[1]) > size - data_begin)
    bad_file(source, where +
                         "data_offsets reach beyond the end of the file; the file is truncated or "
                         "damaged. Fetch it again.");
  info.offset = data_begin + static_cast<uint64_t>(offsets[0]);
  return info;
}

void parse_metadata(const JsonValue& value, SafetensorsHeader& out, const std::string& source) {
  if (!value.object()) bad_file(source, "__metadata__ is not an object.");
  for (const JsonMember& member : *value.object()) {
    if (!member.value.string())
      bad_file(source, "__metadata__ holds something other than strings.");
    out.metadata.emplace_back(member.key, *member.value.string());
  }
  std::sort(out.metadata.begin(), out.metadata.end());
}

// One file and its position in the reader's list of tensors.
struct Shard {
  std::unique_ptr<MappedFile> file;
  SafetensorsHeader header;
};

Shard open_shard(const std::string& path) {
  Shard shard{std::make_unique<MappedFile>(path), {}};
  shard.header = parse_safetensors(shard.file->data(), shard.file->size(), path);
  return shard;
}

class SafetensorsFiles : public SafetensorsReader {
 public:
  SafetensorsFiles(std::string source, std::vector<Shard> shards)
      : source_(std::move(source)), shards_(std::move(shards)) {
    std::vector<std::pair<TensorInfo, size_t>> all;
    for (size_t i = 0; i < shards_.size(); ++i)
      for (TensorInfo& info : shards_[i].header.tensors) all.emplace_back(std::move(info), i);
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
    for (auto& [info, shard] : all) tensors_.push_back(std::move(info)), shard_of_.push_back(shard);
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const override {
    return shards_.front().header.metadata;
  }

  void read_into(const std::string& name, Tensor out) const override {
    const TensorInfo* info = existing(name);
    const MappedFile& file = file_of(info);
    const ElementType& type = convertible_type(*info, file.path());
    const int64_t columns = info->shape.empty() ? 1 : info->shape.back();
    const int64_t rows = columns == 0 ? 0 : out.numel() / columns;
    convert_rows(type, file.data() + info->offset, out, rows, columns);
  }

  void read_bytes(const std::string& name, Tensor out) const override {
    const TensorInfo* info = existing(name);
    if (info->bytes != out.nbytes())
      bad_file(source_, "the tensor " + quote(name) + " does not take " +
                            std::to_string(out.nbytes()) + " bytes.");
    if (info->bytes > 0)
      std::memcpy(out.mutable_data_ptr(), file_of(info).data() + info->offset, info->bytes);
  }

 private:
  const TensorInfo* existing(const std::string& name) const {
    const TensorInfo* info = find(name);
    if (!info) bad_file(source_, "there is no tensor " + quote(name) + ".");
    return info;
  }
  const MappedFile& file_of(const TensorInfo* info) const {
    return *shards_[shard_of_[static_cast<size_t>(info - tensors_.data())]].file;
  }

  std::string source_;
  std::vector<Shard> shards_;
  std::vector<TensorInfo> tensors_;  // of all shards, sorted by name
  std::vector<size_t> shard_of_;
};

// Checks that every tensor is in the shard that the index names, and that the index lists every
// tensor.
void check_against_index(const Shard& shard, const std::string& file_name,
                         const std::vector<std::pair<std::string, std::string>>& map,
                         const std::string& source) {
  size_t expected = 0;
  for (const auto& [tensor, file] : map) {
    if (file != file_name) continue;
    ++expected;
    const auto& all = shard.header.tensors;
    const auto at =
        std::lower_bound(all.begin(), all.end(), tensor,
                         [](const TensorInfo& a, const std::string& b) { return a.name < b; });
    if (at == all.end() || at->name != tensor)
      bad_file(source,
               "the tensor " + quote(tensor) + " is not in " + quote(file) + " as the index says.");
  }
  if (expected == shard.header.tensors.size()) return;
  for (const TensorInfo& info : shard.header.tensors)
    if (!std::binary_search(map.begin(), map.end(), std::make_pair(info.name, file_name)))
      bad_file(source, quote(file_name) + " holds the tensor " + quote(info.name) +
                           ", which the index does not list there.");
}

std::unique_ptr<SafetensorsReader> open_sharded(const std::string& folder,
                                                const std::string& index) {
  const auto map = parse_safetensors_index(read_file(index, kMaxIndex), index);
  std::vector<std::string> files;
  for (const auto& entry : map) files.push_back(entry.second);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  std::vector<Shard> shards;
  for (const std::string& file : files) {
    if (!file_exists(folder + "/" + file))
      throw Error(ErrorCode::not_found, index + ": the shard " + quote(file) +
                                            " is missing from the folder. Fetch the model again.");
    shards.push_back(open_shard(folder + "/" + file));
    check_against_index(shards.back(), file, map, index);
  }
  return std::make_unique<SafetensorsFiles>(folder, std::move(shards));
}

}  // namespace

SafetensorsHeader parse_safetensors(const uint8_t* data, size_t size, const std::string& source) {
  if (size < 8)
    bad_file(source, "a safetensors file has at least 8 bytes, this one " + std::to_string(size) +
                         ": its download was cut; fetch it again.");
  uint64_t length = 0;
  std::memcpy(&length, data, 8);
  if (length > kMaxHeader)
    bad_file(source, "the header length is " + std::to_string(length) +
                         ", above the format's limit; "
                         "this is no safetensors file, or a damaged one. Fetch it again.");
  if (length > size - 8)
    bad_file(source, "the header claims " + std::to_string(length) + " bytes, the file has " +
                         std::to_string(size - 8) +
                         " after it; the file is truncated. Fetch it again.");
  const std::string_view text(reinterpret_cast<const char*>(data) + 8, length);
  if (text.empty() || text[0] != '{')
    bad_file(source,
             "the header does not start with '{', so this is no safetensors file; bring the model "
             "from its source again.");
  const JsonValue root = parse_json(text, source);
  SafetensorsHeader out;
  const uint64_t data_begin = 8 + length;
  for (const JsonMember& member : *root.object()) {
    if (member.key == "__metadata__")
      parse_metadata(member.value, out, source);
    else
      out.tensors.push_back(parse_entry(member.key, member.value, data_begin, size, source));
  }
  check_extents(out.tensors, data_begin, size, true, source);
  return out;
}

std::vector<std::pair<std::string, std::string>> parse_safetensors_index(
    const std::string& json, const std::string& source) {
  const JsonValue root = parse_json(json, source);
  const JsonValue* map = root.find("weight_map");
  if (!map || !map->object() || map->object()->empty())
    bad_file(source, "weight_map is missing, empty or no object.");
  std::vector<std::pair<std::string, std::string>> out;
  for (const JsonMember& member : *map->object()) {
    if (!member.value.string())
      bad_file(source, "weight_map gives no file name for " + quote(member.key) + ".");
    const std::string& file = *member.value.string();
    // Plain names only: an untrusted index must not make the reader open files outside its folder.
    const bool plain =
        file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && file.size() <= 255;
    if (!plain || !file.ends_with(".safetensors"))
      bad_file(source, "weight_map names the file " + quote(file) +
                           "; only .safetensors files in the same folder are allowed.");
    out.emplace_back(member.key, file);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::unique_ptr<SafetensorsReader> open_safetensors(const std::string& path) {
  std::string single = path;
  if (is_directory(path)) {
    single = path + "/model.safetensors";
    const std::string index = path + "/model.safetensors.index.json";
    if (!file_exists(single)) {
      if (file_exists(index)) return open_sharded(path, index);
      throw Error(ErrorCode::not_found,
                  path +
                      " has neither model.safetensors nor model.safetensors.index.json. Save the "
                      "model in safetensors format there.");
    }
  }
  std::vector<Shard> shards;
  shards.push_back(open_shard(single));
  return std::make_unique<SafetensorsFiles>(path, std::move(shards));
}

}  // namespace cream
