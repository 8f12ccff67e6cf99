// cos and sin of every position, by the kind of scaling that the config asks for.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

// [positions, rotary_dim] fp32 in rotate-half layout (Hugging Face's), rotary_dim =
// rotary_dim(head_dim), times the attention factor.
struct RopeTable {
  Tensor cos, sin;
};
RopeTable make_rope_table(const RopeConfig& rope, const ModelConfig& config, int64_t positions);
inline RopeTable make_rope_table(const ModelConfig& config, int64_t positions) {
  return make_rope_table(config.rope, config, positions);
}

}  // namespace cream
