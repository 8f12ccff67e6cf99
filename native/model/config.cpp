#include "model/config.h"

#include <algorithm>
#include <cmath>

namespace cream {

int64_t ModelConfig::context() const {
  int64_t positions = max_position_embeddings;  // dynamic scaling begins beyond it
  // vLLM's rule; published YaRN configs often leave max_position_embeddings as it was.
  if (rope.type == "yarn" && rope.factor > 0) {
    const double extended =
        rope.factor * static_cast<double>(rope.original_max_position_embeddings);
    positions = std::max(positions, static_cast<int64_t>(std::min(
                                        extended, static_cast<double>(ConfigLimits::positions))));
  }
  for (const RopeConfig* kind : {&rope, local_rope ? &*local_rope : nullptr})
    if (kind && kind->type == "longrope")
      positions = std::min(positions, kind->original_max_position_embeddings);
  return positions;
}

double ModelConfig::attention_scale() const {
  if (attention_multiplier > 0) return attention_multiplier;
  return 1.0 / std::sqrt(query_pre_attn_scalar > 0 ? query_pre_attn_scalar
                                                   : static_cast<double>(head_dim));
}

namespace {

void validate_rope(const ModelConfig& config, const RopeConfig& rope, const std::string& source) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::invalid_file, source + ": " + what + ".");
  };
  if (!(rope.theta > 0 && std::isfinite(rope.theta))) fail("the RoPE base must be positive");
  const int64_t rotary_dim = rope.rotary_dim(config.head_dim);
  if (!(rope.partial_rotary_factor > 0 && rope.partial_rotary_factor <= 1) || rotary_dim < 2 ||
      rotary_dim % 2 != 0)
    fail("partial_rotary_factor rotates " + std::to_string(rotary_dim) + " of " +
         std::to_string(config.head_dim) +
         " entries of a head, but it must be an even number from 2 up to all of them");
  if (rope.type == "longrope")
    for (const std::vector<double>* factors : {&rope.short_factor, &rope.long_factor})
      if (static_cast<int64_t>(factors->size()) != rotary_dim / 2)
        fail(std::string(factors == &rope.short_factor ? "short_factor" : "long_factor") +
             " must list " + std::to_string(rotary_dim / 2) +
             " numbers, one for every pair of entries that RoPE rotates");
}

}  // namespace

void validate_config(const ModelConfig& config, const std::string& source) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::invalid_file, source + ": " + what + ".");
  };
  const auto range = [&](const char* name, int64_t value, int64_t high) {
    if (value < 1 || value > high)
      fail(std::string(name) + " is " + std::to_string(value) + " but must be from 1 to " +
           std::to_string(high));
  };
  range("the vocabulary size", config.vocab_size, ConfigLimits::vocab);
  range("the hidden size", config.hidden_size, ConfigLimits::hidden);
  range("the intermediate size", config.intermediate_size, ConfigLimits::intermediate);
  range("the number of layers", config.num_layers, ConfigLimits::layers);
  range("the number of attention heads", config.num_heads, ConfigLimits::heads);
  range("the number of key-value heads", config.num_kv_heads, config.num_heads);
  range("the head size", config.head_dim, ConfigLimits::head_dim);
  range("the number of positions", config.max_position_embeddings, ConfigLimits::positions);
  if (config.num_heads % config.num_kv_heads != 0)
    fail("the number of attention heads (" + std::to_string(config.num_heads) +
         ") is not a multiple of the key-value heads (" + std::to_string(config.num_kv_heads) +
         ")");
  if (config.head_dim % 2 != 0)
    fail("the head size (" + std::to_string(config.head_dim) +
         ") is odd, so RoPE cannot pair its entries");
  if (config.q_size() > ConfigLimits::hidden)
    fail("heads × head size (" + std::to_string(config.q_size()) + ") is too large");
  if (!(config.rms_norm_eps > 0 && config.rms_norm_eps <= 1))
    fail("the RMS norm epsilon must be above 0 and at most 1");
  validate_rope(config, config.rope, source);
  if (config.local_rope) validate_rope(config, *config.local_rope, source);
  if (!config.layers.empty() && static_cast<int64_t>(config.layers.size()) != config.num_layers)
    fail("the layers' kinds do not match their number");
  const bool slides = std::any_of(config.layers.begin(), config.layers.end(),
                                  [](const LayerKind& kind) { return kind.sliding; });
  if (slides && config.sliding_window < 1)
    fail("layer_types asks for sliding_attention, but sliding_window gives no window");
}

}  // namespace cream
