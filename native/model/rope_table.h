// cos and sin for every position, with the RoPE scaling of the config.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "support/torch.h"

namespace cream {

// [positions, rotary_dim] fp32 in the rotate-half layout of Hugging Face, multiplied by the
// attention factor; rotary_dim = rotary_dim(head_dim).
struct RopeTable {
  Tensor cos, sin;
};
RopeTable make_rope_table(const RopeConfig& rope, const ModelConfig& config, int64_t positions);
// [positions, 1] fp32: the factor of a query at each position (RopeConfig::llama_4_scaling_beta).
Tensor make_query_scale(const RopeConfig& rope, int64_t positions);
inline RopeTable make_rope_table(const ModelConfig& config, int64_t positions) {
  return make_rope_table(config.rope, config, positions);
}

}  // namespace cream
