#include "weights/extent.h"

#include <algorithm>

#include "support/json.h"

namespace cream {

void bad_file(const std::string& source, const std::string& what) {
  throw Error(ErrorCode::invalid_file, source + ": " + what);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

uint64_t checked_bytes(const ElementType& type, const TensorInfo& info, const std::string& source) {
  constexpr uint64_t kMost = uint64_t{1} << 62;
  uint64_t blocks = 1;
  for (size_t i = 0; i < info.shape.size(); ++i) {
    const int64_t size = info.shape[i];
    if (size < 0) bad_file(source, "the tensor " + quote(info.name) + " has a negative dimension.");
    const bool innermost = i + 1 == info.shape.size();
    if (innermost && size % type.block != 0)
      bad_file(source, "the tensor " + quote(info.name) + " has rows of " + std::to_string(size) +
                           " elements, not a multiple of " + type.name + "'s block of " +
                           std::to_string(type.block) + ".");
    const uint64_t factor = static_cast<uint64_t>(innermost ? size / type.block : size);
    if (factor != 0 && blocks > kMost / factor)
      bad_file(source, "the tensor " + quote(info.name) + " is impossibly large.");
    blocks *= factor;
  }
  if (blocks > kMost / static_cast<uint64_t>(type.bytes))
    bad_file(source, "the tensor " + quote(info.name) + " is impossibly large.");
  return blocks * static_cast<uint64_t>(type.bytes);
}

void check_extents(std::vector<TensorInfo>& tensors, uint64_t begin, uint64_t end, bool gapless,
                   const std::string& source) {
  for (const TensorInfo& info : tensors)
    if (info.offset < begin || info.offset > end || info.bytes > end - info.offset)
      bad_file(
          source,
          "the tensor " + quote(info.name) +
              " reaches beyond the end of the file; it is truncated or damaged. Fetch it again.");

  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  uint64_t at = begin;
  const TensorInfo* before = nullptr;
  for (const TensorInfo& info : tensors) {
    if (info.offset < at)
      bad_file(source,
               "the tensors " + quote(before->name) + " and " + quote(info.name) + " overlap.");
    if (gapless && info.offset > at)
      bad_file(source, "there are bytes before the tensor " + quote(info.name) +
                           " that belong to no tensor.");
    at = info.offset + info.bytes;
    before = &info;
  }
  if (gapless && at != end)
    bad_file(source, "there are " + std::to_string(end - at) +
                         " bytes at the end that belong to no tensor.");

  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  for (size_t i = 1; i < tensors.size(); ++i)
    if (tensors[i].name == tensors[i - 1].name)
      bad_file(source, "the tensor " + quote(tensors[i].name) + " appears twice.");
}

const ElementType& convertible_type(const TensorInfo& info, const std::string& source) {
  const ElementType* type = element_type(info.dtype);
  if (type && type->to_float) return *type;
  throw Error(ErrorCode::unsupported, source + ": the tensor " + quote(info.name) +
                                          " has element type " + info.dtype +
                                          ", which cannot be read. Use a file with F32, F16, BF16, "
                                          "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K.");
}

const TensorInfo* WeightsReader::find(const std::string& name) const {
  const std::vector<TensorInfo>& all = tensors();
  const auto at =
      std::lower_bound(all.begin(), all.end(), name,
                       [](const TensorInfo& a, const std::string& b) { return a.name < b; });
  return at != all.end() && at->name == name ? &*at : nullptr;
}

Tensor WeightsReader::read(const std::string& name, at::ScalarType dtype) const {
  const TensorInfo* info = find(name);
  if (!info) throw Error(ErrorCode::invalid_file, "The file has no tensor " + quote(name) + ".");
  Tensor out = at::empty(info->shape, at::TensorOptions().dtype(dtype));
  read_into(name, out);
  return out;
}

}  // namespace cream
