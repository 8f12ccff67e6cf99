// Elements of model files → float32 or bfloat16.
//   Q4_0, Q5_0, Q8_0  x = d·(q − offset); blocks of 32 with an fp16 d
//   Q4_1, Q5_1        x = d·q + m; blocks of 32 with an fp16 d and m
//   Q4_K, Q5_K        x = (d·s)·q − (dmin·m) with 6-bit s and m; super-blocks of 256 = 8 × 32
//   Q6_K              x = (d·s)·q with 8-bit s; 16 × 16
// Each product is rounded in this order, so the floats equal those of llama.cpp and transformers
// bit for bit. Rows are independent and run in parallel. Source: block layouts of ggml
// (ggml-common.h), checked against the gguf package in test/golden/gguf_blocks.json.
#include "weights/dequantize.h"

#include <c10/util/Half.h>

#include <bit>
#include <cstring>

#include "support/parallel.h"

namespace cream {

namespace {

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

template <class T>
T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float half(const uint8_t* at) { return c10::detail::fp16_ieee_to_fp32_value(load<uint16_t>(at)); }

void from_f32(const uint8_t* source, float* out, int64_t n) {
  std::memcpy(out, source, static_cast<size_t>(n) * 4);
}

void from_f16(const uint8_t* source, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = half(source + 2 * i);
}

void from_bf16(const uint8_t* source, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(source + 2 * i)) << 16);
}

void from_q8_0(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 34, out += 32) {
    const float d = half(block);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
  }
}

// Four bits each: byte i holds element i below and element i + 16 above.
void from_q4_0(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 18, out += 32) {
    const float d = half(block);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
      out[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
    }
  }
}

void from_q4_1(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 20, out += 32) {
    const float d = half(block), m = half(block + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(block[4 + i] & 15) + m;
      out[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
    }
  }
}

// The fifth bit of element i is bit i of a 32-bit word.
void from_q5_0(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 22, out += 32) {
    const float d = half(block);
    const uint32_t high = load<uint32_t>(block + 2);
    for (int i = 0; i < 16; ++i) {
      const int low = (block[6 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
      const int upper = (block[6 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
      out[i] = d * static_cast<float>(low - 16);
      out[i + 16] = d * static_cast<float>(upper - 16);
    }
  }
}

void from_q5_1(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 24, out += 32) {
    const float d = half(block), m = half(block + 2);
    const uint32_t high = load<uint32_t>(block + 4);
    for (int i = 0; i < 16; ++i) {
      const int low = (block[8 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
      const int upper = (block[8 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
      out[i] = d * static_cast<float>(low) + m;
      out[i + 16] = d * static_cast<float>(upper) + m;
    }
  }
}

// Twelve bytes hold eight 6-bit scales and eight 6-bit minima: the first four of each in the low
// six bits of bytes 0–3 and 4–7, the last four with their low nibbles in bytes 8–11 and their two
// high bits on top of the bytes before.
void scale_and_minimum(const uint8_t* packed, int j, float& scale, float& minimum) {
  if (j < 4) {
    scale = static_cast<float>(packed[j] & 63);
    minimum = static_cast<float>(packed[j + 4] & 63);
  } else {
    scale = static_cast<float>((packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4);
    minimum = static_cast<float>((packed[j + 4] >> 4) | (packed[j] >> 6) << 4);
  }
}

// Layout: d, dmin, 12 bytes of scales, [32 bytes of fifth bits,] 128 bytes of nibbles; 32 nibble
// bytes serve sub-blocks 2p and 2p + 1.
template <bool kFifthBit>
void from_q45_k(const uint8_t* block, float* out, int64_t n) {
  constexpr int64_t kBytes = kFifthBit ? 176 : 144;
  for (; n > 0; --n, block += kBytes) {
    const float d = half(block), dmin = half(block + 2);
    const uint8_t* high = block + 16;
    const uint8_t* nibbles = block + (kFifthBit ? 48 : 16);
    for (int j = 0; j < 8; ++j, out += 32) {
      float scale, minimum;
      scale_and_minimum(block + 4, j, scale, minimum);
      const float step = d * scale, shift = dmin * minimum;
      for (int i = 0; i < 32; ++i) {
        int q = nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
        if constexpr (kFifthBit) q |= (high[i] >> j & 1) << 4;
        out[i] = step * static_cast<float>(q) - shift;
      }
    }
  }
}

// Layout: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d. Each half of 128
// elements is four runs of 32.
void from_q6_k(const uint8_t* block, float* out, int64_t n) {
  for (; n > 0; --n, block += 210, out += 256) {
    const float d = half(block + 208);
    for (int j = 0; j < 8; ++j) {
      const int side = j / 4, run = j % 4;
      const uint8_t* low = block + 64 * side + 32 * (run % 2);
      const uint8_t* high = block + 128 + 32 * side;
      for (int i = 0; i < 32; ++i) {
        const int q = (low[i] >> (run / 2 * 4) & 15) | (high[i] >> (2 * run) & 3) << 4;
        const float scale =
            d * static_cast<float>(static_cast<int8_t>(block[192 + 2 * j + i / 16]));
        out[32 * j + i] = scale * static_cast<float>(q - 32);
      }
    }
  }
}

// Types without to_float are listed so that sizes can be checked and messages can name them.
constexpr ElementType kTypes[] = {
    {"F32", 0, 1, 4, from_f32},
    {"F16", 1, 1, 2, from_f16},
    {"BF16", 30, 1, 2, from_bf16},
    {"Q4_0", 2, 32, 18, from_q4_0},
    {"Q4_1", 3, 32, 20, from_q4_1},
    {"Q5_0", 6, 32, 22, from_q5_0},
    {"Q5_1", 7, 32, 24, from_q5_1},
    {"Q8_0", 8, 32, 34, from_q8_0},
    {"Q4_K", 12, 256, 144, from_q45_k<false>},
    {"Q5_K", 13, 256, 176, from_q45_k<true>},
    {"Q6_K", 14, 256, 210, from_q6_k},
    {"Q8_1", 9, 32, 40, nullptr},
    {"Q2_K", 10, 256, 84, nullptr},
    {"Q3_K", 11, 256, 110, nullptr},
    {"Q8_K", 15, 256, 292, nullptr},
    {"IQ2_XXS", 16, 256, 66, nullptr},
    {"IQ2_XS", 17, 256, 74, nullptr},
    {"IQ3_XXS", 18, 256, 98, nullptr},
    {"IQ1_S", 19, 256, 50, nullptr},
    {"IQ4_NL", 20, 32, 18, nullptr},
    {"IQ3_S", 21, 256, 110, nullptr},
    {"IQ2_S", 22, 256, 82, nullptr},
    {"IQ4_XS", 23, 256, 136, nullptr},
    {"I8", 24, 1, 1, nullptr},
    {"I16", 25, 1, 2, nullptr},
    {"I32", 26, 1, 4, nullptr},
    {"I64", 27, 1, 8, nullptr},
    {"F64", 28, 1, 8, nullptr},
    {"IQ1_M", 29, 256, 56, nullptr},
    {"TQ1_0", 34, 256, 54, nullptr},
    {"TQ2_0", 35, 256, 66, nullptr},
    {"MXFP4", 39, 32, 17, nullptr},
    {"BOOL", -1, 1, 1, nullptr},
    {"U8", -1, 1, 1, nullptr},
    {"U16", -1, 1, 2, nullptr},
    {"U32", -1, 1, 4, nullptr},
    {"U64", -1, 1, 8, nullptr},
    {"F8_E4M3", -1, 1, 1, nullptr},
    {"F8_E5M2", -1, 1, 1, nullptr},
};

constexpr int64_t kChunk = 256;  // a multiple of every block

// Rounds to nearest even; NaN stays NaN. Always a whole chunk: compilers vectorise a constant trip
// count at -O2.
void to_bf16(const float* values, uint16_t* out) {
  for (int64_t i = 0; i < kChunk; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    out[i] = static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
  }
}

}  // namespace

const ElementType* element_type(std::string_view name) {
  for (const ElementType& type : kTypes)
    if (name == type.name) return &type;
  return nullptr;
}

const ElementType* element_type_of_gguf(uint32_t id) {
  for (const ElementType& type : kTypes)
    if (type.gguf_id >= 0 && static_cast<uint32_t>(type.gguf_id) == id) return &type;
  return nullptr;
}

void convert(const ElementType& type, const uint8_t* source, void* out, at::ScalarType dtype,
             int64_t elements) {
  TORCH_INTERNAL_ASSERT(type.to_float && elements % type.block == 0);
  if (dtype == at::kFloat)
    return type.to_float(source, static_cast<float*>(out), elements / type.block);
  TORCH_INTERNAL_ASSERT(dtype == at::kBFloat16);
  if (type.to_float == from_bf16) {
    std::memcpy(out, source, static_cast<size_t>(elements) * 2);
    return;
  }
  float floats[kChunk] = {};
  uint16_t rounded[kChunk];
  for (int64_t done = 0; done < elements; done += kChunk) {
    const int64_t n = std::min(kChunk, elements - done);
    type.to_float(source + done / type.block * type.bytes, floats, n / type.block);
    to_bf16(floats, rounded);
    std::memcpy(static_cast<uint16_t*>(out) + done, rounded, static_cast<size_t>(n) * 2);
  }
}

void convert_rows(const ElementType& type, const uint8_t* source, Tensor& out, int64_t rows,
                  int64_t columns, const std::function<int64_t(int64_t)>& source_row) {
  TORCH_INTERNAL_ASSERT(out.is_contiguous() && out.numel() == rows * columns &&
                        columns % type.block == 0);
  const at::ScalarType dtype = out.scalar_type();
  uint8_t* base = static_cast<uint8_t*>(out.mutable_data_ptr());
  const int64_t row_in = columns / type.block * type.bytes,
                row_out = columns * static_cast<int64_t>(out.element_size());
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, columns));
  parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    if (!source_row)
      return convert(type, source + begin * row_in, base + begin * row_out, dtype,
                     (end - begin) * columns);
    for (int64_t row = begin; row < end; ++row)
      convert(type, source + source_row(row) * row_in, base + row * row_out, dtype, columns);
  });
}

}  // namespace cream
