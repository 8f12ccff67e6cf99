// What a stage of a run takes of a device's memory, and what to choose so that it fits. Pure
// arithmetic on a model's config: no tensor, no device, so it answers for cards that are not there.
// The bytes of activations follow model/transformer.cpp and train/backward.cpp line by line; a test
// holds them against measured peaks. docs/memory.md explains the parts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "support/types.h"

namespace cream {

enum class PlanStage { sample, score, train };

struct PlanRequest {
  ModelConfig config;
  DType dtype = DType::bfloat16;
  PlanStage stage = PlanStage::train;
  uint64_t device_bytes = 0;
  std::optional<LoraParams> lora;  // adapters are trained, and a θ is an adapter
  int64_t other_models = 0;        // θ_{t−1} and θ_0 beside θ_t, in full or as adapters
  int64_t prompt_tokens = 512, new_tokens = 768;  // the longest prompt and completion
  int64_t samples = 5;                            // completions of a prompt

  // What the user fixed, of the last two at most that; nothing: the plan chooses.
  std::optional<int64_t> micro_batch_tokens, max_num_batched_tokens, max_num_seqs;
  std::optional<bool> activation_checkpointing;
  std::optional<OptimizerForms> forms;
};

struct PlanPart {
  std::string name;  // "weights", "KV cache", …
  uint64_t bytes = 0;
};

struct Plan {
  std::vector<PlanPart> parts;
  uint64_t bytes = 0;        // their sum
  uint64_t short_bytes = 0;  // what is missing; 0: it fits
  bool fits() const { return short_bytes == 0; }

  // Chosen or as fixed; 0 where the stage has no such thing.
  int64_t micro_batch_tokens = 0;
  bool activation_checkpointing = false;
  OptimizerForms forms;
  int64_t max_num_seqs = 0, kv_pages = 0, prefill_tokens = 0;
  int64_t max_num_batched_tokens = 0;
  int64_t head_chunk_tokens = 0;  // rows whose logits exist at once
};

// The first choice that fits, from fast to small; where none does, the smallest, and what it is
// short of.
Plan plan_memory(const PlanRequest& request);

// Bytes of the graph that a layer keeps for its backward pass, and of what a pass through it needs
// besides, per token row.
struct LayerBytes {
  int64_t kept = 0;  // saved for the backward pass
  int64_t forward =
      0;  // alive at once without autograd: scoring, sampling, checkpointing's forward
  int64_t backward = 0;  // beside `kept`
};
LayerBytes layer_bytes(const ModelConfig& config, DType dtype,
                       const std::optional<LoraParams>& lora);

}  // namespace cream
