// A safetensors file or index from an untrusted source: header, tensor list and conversion.
#include "support/error.h"
#include "weights/dequantize.h"
#include "weights/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const cream::TensorInfo& info : cream::parse_safetensors(data, size, "fuzz").tensors) {
      const cream::ElementType* type = cream::element_type(info.dtype);
      if (!type->to_float) continue;
      const int64_t elements = static_cast<int64_t>(info.bytes) / type->bytes;
      cream::Tensor out = at::empty({elements}, at::TensorOptions().dtype(at::kFloat));
      cream::convert(*type, data + info.offset, out.mutable_data_ptr(), at::kFloat, elements);
    }
  } catch (const cream::Error&) {  // anything else is a finding
  }
  try {
    cream::parse_safetensors_index(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
  } catch (const cream::Error&) {
  }
  return 0;
}
