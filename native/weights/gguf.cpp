// GGUF, versions 2 and 3: magic, counts, typed key-value metadata, tensor table, aligned data.
// Everything is little-endian and untrusted. Source: the GGUF specification (ggml/docs/gguf.md).
#include <bit>
#include <cstring>
#include <map>

#include "model/families.h"
#include "support/json.h"
#include "support/mmap.h"
#include "weights/extent.h"
#include "weights/gguf_config.h"
#include "weights/reader.h"

namespace cream {

namespace {

enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// Minimum size in bytes of a value of each type.
constexpr uint64_t kLeastBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
constexpr uint32_t kMaxArrayDepth = 4;
constexpr uint64_t kMaxAlignment = 1 << 16;

// Reads the bytes in order; every read checks the remaining length first.
class Cursor {
 public:
  Cursor(const uint8_t* data, uint64_t size, const std::string& source)
      : data_(data), size_(size), source_(source) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return size_ - at_; }

  template <class T>
  T number(const char* what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, data_ + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  // Valid UTF-8, in place.
  std::string_view string(const char* what) {
    const uint64_t length = number<uint64_t>(what);
    need(length, what);
    const std::string_view text(reinterpret_cast<const char*>(data_) + at_, length);
    if (!valid_utf8(text))
      bad_file(source_, std::string(what) + " at byte " + std::to_string(at_) + " is not UTF-8.");
    at_ += length;
    return text;
  }

  // A count of entries of at least `least` bytes each; checked against the remaining bytes, so a
  // false count cannot cause a large allocation.
  uint64_t count(uint64_t claimed, uint64_t least, const char* what) const {
    if (claimed > left() / least)
      bad_file(source_,
               "the header claims " + std::to_string(claimed) + " " + what +
                   ", more than the file can hold; it is truncated or damaged. Fetch it again.");
    return claimed;
  }

 private:
  void need(uint64_t bytes, const char* what) const {
    if (bytes > left())
      bad_file(source_, "the file ends within " + std::string(what) + " at byte " +
                            std::to_string(at_) + "; it is truncated or damaged. Fetch it again.");
  }

  const uint8_t* data_;
  uint64_t size_, at_ = 0;
  const std::string& source_;
};

// Reads the metadata once: everything to JSON, scalars also to a map for the config.
class MetadataParser {
 public:
  MetadataParser(Cursor& cursor, const std::string& source) : cursor_(cursor), source_(source) {}

  GgufMetadata parse(uint64_t pairs) {
    GgufMetadata out;
    json_.begin_object();
    for (uint64_t i = 0; i < pairs; ++i) {
      key_ = std::string(cursor_.string("a metadata key"));
      if (key_.empty()) bad_file(source_, "a metadata key is empty.");
      if (out.scalars.count(key_) || out.array_lengths.count(key_))
        bad_file(source_, "the metadata key " + quote(key_) + " appears twice.");
      json_.key(key_);
      const uint32_t type = value_type();
      if (type == kArray)
        out.array_lengths[key_] = array(1);
      else
        out.scalars.emplace(key_, scalar(type));
    }
    json_.end_object();
    out.json = json_.take();
    return out;
  }

 private:
  uint32_t value_type() {
    const uint32_t type = cursor_.number<uint32_t>("a metadata type");
    if (type > kF64)
      bad_file(source_, "the metadata key " + quote(key_) + " has the unknown type " +
                            std::to_string(type) + ".");
    return type;
  }

  uint64_t array(uint32_t depth) {
    if (depth > kMaxArrayDepth)
      bad_file(source_, "the metadata key " + quote(key_) + " nests arrays too deeply.");
    const uint32_t type = value_type();
    const uint64_t length = cursor_.count(cursor_.number<uint64_t>("an array length"),
                                          kLeastBytes[type], "array entries");
    json_.begin_array();
    for (uint64_t i = 0; i < length; ++i)
      type == kArray ? void(array(depth + 1)) : void(scalar(type));
    json_.end_array();
    return length;
  }

  template <class Stored, class Wide>
  JsonValue number() {
    const Stored value = cursor_.number<Stored>("a metadata value");
    json_.value(static_cast<Wide>(value));
    return JsonValue(static_cast<int64_t>(value));
  }

  template <class Real>
  JsonValue real() {
    const Real value = cursor_.number<Real>("a metadata value");
    JsonWriter shortest;  // 1e-05f means 1e-05, not the nearest double of the float
    shortest.value(value);
    json_.value(value);
    return parse_json(shortest.text(), source_);
  }

  JsonValue boolean() {
    const uint8_t value = cursor_.number<uint8_t>("a metadata value");
    if (value > 1)
      bad_file(source_,
               "the metadata key " + quote(key_) + " holds a boolean that is neither 0 nor 1.");
    json_.value(value == 1);
    return JsonValue(value == 1);
  }

  JsonValue scalar(uint32_t type) {
    switch (type) {
      case kU8:
        return number<uint8_t, uint64_t>();
      case kI8:
        return number<int8_t, int64_t>();
      case kU16:
        return number<uint16_t, uint64_t>();
      case kI16:
        return number<int16_t, int64_t>();
      case kU32:
        return number<uint32_t, uint64_t>();
      case kI32:
        return number<int32_t, int64_t>();
      case kU64:
        return number<uint64_t,
                      uint64_t>();  // above 2^63 it becomes negative here and fails every range
                                    // check
      case kI64:
        return number<int64_t, int64_t>();
      case kF32:
        return real<float>();
      case kF64:
        return real<double>();
      case kBool:
        return boolean();
      default: {
        const std::string_view text = cursor_.string("a metadata string");
        json_.value(text);
        return JsonValue(std::string(text));
      }
    }
  }

  Cursor& cursor_;
  const std::string& source_;
  JsonWriter json_;
  std::string key_;
};

TensorInfo parse_tensor(Cursor& cursor, const std::string& source) {
  TensorInfo info;
  info.name = cursor.string("a tensor name");
  const std::string where = "the tensor " + quote(info.name);
  const uint32_t dimensions = cursor.number<uint32_t>("a tensor's dimensions");
  if (dimensions < 1 || dimensions > 4)
    bad_file(source,
             where + " has " + std::to_string(dimensions) + " dimensions; 1 to 4 are allowed.");
  for (uint32_t i = 0; i < dimensions; ++i) {
    const uint64_t size = cursor.number<uint64_t>("a tensor's dimensions");
    if (size == 0 || size > uint64_t{1} << 40)
      bad_file(source, where + " has a dimension of " + std::to_string(size) + ".");
    info.shape.insert(info.shape.begin(),
                      static_cast<int64_t>(size));  // innermost first in the file
  }
  const uint32_t id = cursor.number<uint32_t>("a tensor's type");
  const ElementType* type = element_type_of_gguf(id);
  if (!type)
    throw Error(ErrorCode::unsupported, source + ": " + where + " has the unknown element type " +
                                            std::to_string(id) + ".");
  info.dtype = type->name;
  info.bytes = checked_bytes(*type, info, source);
  info.offset = cursor.number<uint64_t>("a tensor's offset");
  return info;
}

uint64_t read_alignment(const GgufMetadata& metadata, const std::string& source) {
  const auto entry = metadata.scalars.find("general.alignment");
  if (entry == metadata.scalars.end()) return 32;
  const int64_t* value = entry->second.integer();
  if (!value || *value < 1 || *value > static_cast<int64_t>(kMaxAlignment) ||
      !std::has_single_bit(static_cast<uint64_t>(*value)))
    bad_file(source, "general.alignment must be a power of two up to " +
                         std::to_string(kMaxAlignment) + ".");
  return static_cast<uint64_t>(*value);
}

// Makes offsets, which count from the aligned end of the table, count from the start of the file.
void place_tensors(std::vector<TensorInfo>& tensors, uint64_t table_end, uint64_t size,
                   uint64_t alignment, const std::string& source) {
  const uint64_t data_begin = (table_end + alignment - 1) / alignment * alignment;
  for (TensorInfo& info : tensors) {
    if (info.offset % alignment != 0)
      bad_file(source, "the tensor " + quote(info.name) + " does not start at a multiple of " +
                           std::to_string(alignment) + ".");
    if (data_begin > size || info.offset > size - data_begin)
      bad_file(source, "the tensor " + quote(info.name) +
                           " starts beyond the end of the file; the file is truncated or damaged. "
                           "Fetch it again.");
    info.offset += data_begin;
  }
  check_extents(tensors, std::min(data_begin, size), size, false, source);
}

std::vector<float> read_rope_freqs(const std::vector<TensorInfo>& tensors, const uint8_t* data,
                                   const std::string& source) {
  for (const TensorInfo& info : tensors) {
    if (info.name != "rope_freqs.weight") continue;
    if (info.dtype != "F32" || info.shape.size() != 1 || info.shape[0] > ConfigLimits::head_dim)
      bad_file(source, "the tensor \"rope_freqs.weight\" is not a short list of 32-bit numbers.");
    std::vector<float> values(static_cast<size_t>(info.shape[0]));
    std::memcpy(values.data(), data + info.offset, values.size() * sizeof(float));
    return values;
  }
  return {};
}

class GgufFile : public GgufReader {
 public:
  explicit GgufFile(const std::string& path)
      : file_(path), header_(parse_gguf(file_.data(), file_.size(), path)) {}

  const std::vector<TensorInfo>& tensors() const override { return header_.tensors; }
  const std::string& metadata_json() const override { return header_.metadata_json; }
  const ModelConfig& config() const override { return header_.config; }

  void read_into(const std::string& name, Tensor out) const override {
    const TensorInfo* info = find(name);
    if (!info) bad_file(file_.path(), "there is no tensor " + quote(name) + ".");
    const ElementType& type = convertible_type(*info, file_.path());
    const int64_t columns = info->shape.back(), rows = out.numel() / columns;
    // llama.cpp's converter adds 1 to Gemma's norms and rounds to fp32. Undone in fp32, before any
    // rounding to bf16.
    const double offset = name.ends_with("_norm.weight") ? header_.config.norm_offset : 0;
    if (offset == 0)
      return convert_rows(type, file_.data() + info->offset, out, rows, columns,
                          row_order(name, rows));
    Tensor wide = at::empty(out.sizes(), out.options().dtype(at::kFloat));
    convert_rows(type, file_.data() + info->offset, wide, rows, columns, nullptr);
    out.copy_(wide.sub(offset));
  }

 private:
  // llama.cpp rotates neighbours (2i, 2i+1), Hugging Face halves (i, i + head_dim/2), so
  // llama.cpp's converter of Llama interleaves the rows of q and k within each head. Undone
  // here: row h·d + j·d/2 + i of the result is row h·d + 2i + j of the file.
  std::function<int64_t(int64_t)> row_order(const std::string& name, int64_t rows) const {
    if (!family_of(header_.config).gguf.as_llama ||
        (!name.ends_with(".attn_q.weight") && !name.ends_with(".attn_k.weight")))
      return nullptr;
    const int64_t d = header_.config.head_dim;
    if (rows % d != 0)
      bad_file(file_.path(), "the tensor " + quote(name) + " is not a whole number of heads.");
    return [d](int64_t row) {
      const int64_t within = row % d;
      return row - within + within % (d / 2) * 2 + within / (d / 2);
    };
  }

  MappedFile file_;
  GgufHeader header_;
};

}  // namespace

GgufHeader parse_gguf(const uint8_t* data, size_t size, const std::string& source) {
  Cursor cursor(data, size, source);
  if (size < 4 || std::memcmp(data, "GGUF", 4) != 0)
    bad_file(source, "the file does not start with \"GGUF\"; it is not a GGUF file.");
  cursor.number<uint32_t>("the magic number");
  const uint32_t version = cursor.number<uint32_t>("the version");
  if (version != 2 && version != 3)
    throw Error(ErrorCode::unsupported,
                source + ": GGUF version " + std::to_string(version) +
                    " (little-endian versions 2 and 3 are read). Convert the model again.");
  // A tensor's entry takes at least 32 bytes (name length, dimension count, one dimension, type,
  // offset), a metadata pair 13.
  const uint64_t tensors = cursor.number<uint64_t>("the tensor count"),
                 pairs = cursor.number<uint64_t>("the metadata count");
  cursor.count(tensors, 32, "tensors");
  cursor.count(pairs, 13, "metadata keys");
  GgufMetadata metadata = MetadataParser(cursor, source).parse(pairs);
  GgufHeader out;
  for (uint64_t i = 0; i < tensors; ++i) out.tensors.push_back(parse_tensor(cursor, source));
  place_tensors(out.tensors, cursor.at(), size, read_alignment(metadata, source), source);
  out.config =
      config_from_gguf(metadata, out.tensors, read_rope_freqs(out.tensors, data, source), source);
  out.metadata_json = std::move(metadata.json);
  return out;
}

std::unique_ptr<GgufReader> open_gguf(const std::string& path) {
  return std::make_unique<GgufFile>(path);
}

}  // namespace cream
