// Checks that every tensor of a header lies where it may: shared by the formats.
#pragma once

#include <string>
#include <vector>

#include "weights/dequantize.h"
#include "weights/reader.h"

namespace cream {

[[noreturn]] void bad_file(const std::string& source, const std::string& what);

// Bytes that `shape` takes; throws Error{invalid_file} where the product exceeds 2^62, a dimension
// is negative, or the innermost one is no multiple of the type's block.
uint64_t checked_bytes(const ElementType& type, const TensorInfo& info, const std::string& source);

// Sorts by name. Throws where a name appears twice, a tensor leaves [begin, end), or two tensors
// share bytes; with `gapless` also where bytes belong to no tensor.
void check_extents(std::vector<TensorInfo>& tensors, uint64_t begin, uint64_t end, bool gapless,
                   const std::string& source);

// The element type to convert from; throws Error{unsupported} naming the tensor for types whose
// size alone is known.
const ElementType& convertible_type(const TensorInfo& info, const std::string& source);

}  // namespace cream
