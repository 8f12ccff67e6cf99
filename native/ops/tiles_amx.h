// The tile registers of AMX. Only for files compiled at Level::amx; unnamed namespace for the
// reason given in ops/simd.h.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace cream::ops {
namespace {

constexpr int64_t tile_rows = 16;

// All eight tiles are 16 rows of 64 bytes. Released at the end, because a thread whose tiles are in
// use has 8 KB more to save at every switch, and another library may expect its own shape.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    std::fill_n(config.bytes, 8, uint16_t{64});
    std::fill_n(config.rows, 8, uint8_t{tile_rows});
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

}  // namespace
}  // namespace cream::ops
