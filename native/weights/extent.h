// Checks of the tensors' positions in a file, shared by the file formats.
#pragma once

#include <string>
#include <vector>

#include "weights/dequantize.h"
#include "weights/reader.h"

namespace cream {

[[noreturn]] void bad_file(const std::string& source, const std::string& what);

// "[2, 3]", for messages.
std::string shape_text(const std::vector<int64_t>& shape);

// The size of the tensor in bytes. Throws Error{invalid_file} if the product exceeds 2^62, a
// dimension is negative, or the innermost one is not a multiple of the type's block.
uint64_t checked_bytes(const ElementType& type, const TensorInfo& info, const std::string& source);

// Sorts by name. Throws Error{invalid_file} if a name appears twice, a tensor leaves [begin, end)
// or two tensors overlap; with `gapless`, also if bytes belong to no tensor.
void check_extents(std::vector<TensorInfo>& tensors, uint64_t begin, uint64_t end, bool gapless,
                   const std::string& source);

// The element type to convert from. Throws Error{unsupported} naming the tensor if only the type's
// size is known.
const ElementType& convertible_type(const TensorInfo& info, const std::string& source);

}  // namespace cream
