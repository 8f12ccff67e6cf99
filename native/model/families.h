// The model families as data. A family is a row of the table in families.cpp; the config's reader
// and writer, the parameter table and the GGUF reader take what they need from it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace cream {

// The layers that attend to a window where config.json has no layer_types.
struct LayerPattern {
  enum Kind {
    none,
    all,              // if there is a window
    all_but_every,    // every `period`-th layer has full attention
    from_max_window,  // from layer max_window_layers on
    without_rope      // the layers without RoPE
  };
  Kind kind = none;
  int64_t period = 0;
};

// The form of the family in GGUF files.
struct GgufForm {
  const char* architecture = nullptr;  // general.architecture; null: it has no such family
  // Converted by llama.cpp's Llama converter, which interleaves the rows of q and k within a head
  // and stores llama3 scaling as the tensor rope_freqs.weight.
  bool as_llama = false;
  bool window = false;  // attention.sliding_window is honoured
  // Scores are scaled by (hidden / heads)^(−1/2) in a model with this many layers (Gemma's 27B).
  int64_t layers_with_wide_scale = 0;
};

struct Family {
  // transformers' defaults for the keys that a config of this model_type leaves out, and the
  // family's fixed options. A size without a default is 0; num_kv_heads 0 means num_heads and
  // head_dim 0 means hidden_size / num_heads.
  ModelConfig defaults;
  std::vector<std::string_view> keys = {};  // the optional keys of config.json that are honoured
  LayerPattern pattern = {};
  GgufForm gguf = {};
  bool classifies = false;  // …ForSequenceClassification is read as well

  bool has(std::string_view key) const;
};

// A multimodal checkpoint of which the text part is read.
struct Multimodal {
  const char* model_type;
  const char* text;  // the text part's model_type where text_config gives none
};
// Null if there is none of this model_type.
const Multimodal* find_multimodal(std::string_view model_type);

const std::vector<Family>& families();
// Null for an unknown model_type.
const Family* find_family(std::string_view model_type);
// The family of a config that was read or made by this engine.
const Family& family_of(const ModelConfig& config);
std::string known_families();  // "llama, mistral, …", for messages

}  // namespace cream
