// Element types of model files, and their conversion to float32 or bfloat16.
#pragma once

#include <cstdint>
#include <string_view>

#include "support/torch.h"

namespace cream {

// `block` elements are stored together in `bytes` bytes; plain types have a block of 1.
struct ElementType {
  const char* name;  // "Q4_K"; safetensors and GGUF agree on "F32", "F16", "BF16"
  int32_t gguf_id;   // ggml's type id, -1 if GGUF has no such type
  int64_t block;
  int64_t bytes;
  // Unpacks `blocks` blocks from `source` (no alignment needed) to blocks × block floats. Null for
  // types of which only the size is known.
  void (*to_float)(const uint8_t* source, float* out, int64_t blocks);
};

// Null if there is no such type.
const ElementType* element_type(std::string_view name);
const ElementType* element_type_of_gguf(uint32_t id);

// Converts `elements` elements (a multiple of type.block) from `source` to `out`, an array of
// `dtype`: float32, or bfloat16 rounded to nearest even.
void convert(const ElementType& type, const uint8_t* source, void* out, at::ScalarType dtype,
             int64_t elements);

// Converts [rows, columns] at `source` to a contiguous tensor of as many elements, in parallel. Row
// r of the result is row source_row(r) of the file; null: the same row.
void convert_rows(const ElementType& type, const uint8_t* source, Tensor& out, int64_t rows,
                  int64_t columns, const std::function<int64_t(int64_t)>& source_row = nullptr);

}  // namespace cream
