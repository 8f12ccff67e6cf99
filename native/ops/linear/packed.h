// What Linear::packed points at, for the ops that read it.
#pragma once

#include <cstdint>
#include <memory>

#include "ops/linear/op.h"

namespace cream::ops::packed {

struct Weight {
  const void* source = nullptr;  // the weight's data: a weight that changed where it lies is packed again where its copy lies
  int64_t out = 0, in = 0;
  Tensor storage;  // bf16 panels, see kernel.h
  const uint16_t* data() const { return static_cast<const uint16_t*>(storage.const_data_ptr()); }
};

// The packed copy where it may be used for x: there is one, x is bf16 on the CPU, no gradient is wanted and no test forbids it.
const Weight* usable(const Tensor& x, const Linear& w);

// x [rows, in] → gathered blocks, and the product split over rows and panels; body(first row, rows, first panel, last panel).
inline constexpr int64_t gather_bytes = 256 << 10;  // of x a thread keeps in L2
int64_t chunk_rows(int64_t in);

}  // namespace cream::ops::packed
