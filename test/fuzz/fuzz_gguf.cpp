// A GGUF file from an untrusted source: header, tensor list and dequantisation.
#include "support/error.h"
#include "weights/dequantize.h"
#include "weights/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const cream::GgufHeader header = cream::parse_gguf(data, size, "fuzz");
    for (const cream::TensorInfo& info : header.tensors) {
      const cream::ElementType* type = cream::element_type(info.dtype);
      if (!type->to_float) continue;
      const int64_t elements = static_cast<int64_t>(info.bytes) / type->bytes * type->block;
      cream::Tensor out = at::empty({elements}, at::TensorOptions().dtype(at::kBFloat16));
      cream::convert(*type, data + info.offset, out.mutable_data_ptr(), at::kBFloat16, elements);
    }
  } catch (const cream::Error&) {  // anything else is a finding
  }
  return 0;
}
