// Predicts the device memory that a stage of a run needs, and chooses sizes so that it fits. Pure
// arithmetic on a model's config, without tensors or a device, so it can plan for absent GPUs. The
// bytes of activations follow model/transformer.cpp and train/backward.cpp line by line; a test
// compares them with measured peaks. docs/memory.md explains the parts.
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
  std::optional<LoraParams> lora;  // set: adapters are trained, and each θ is an adapter
  int64_t other_models = 0;        // models besides θ_t: θ_{t−1}, θ_0
  int64_t prompt_tokens = 512;     // of the longest prompt
  int64_t new_tokens = 768;        // of the longest completion
  int64_t samples = 5;             // completions per prompt
  int64_t ranks = 1;  // devices that train together; each keeps its shard of gradients and states
  // Whether each keeps its shard of the weights too; empty: the plan chooses.
  std::optional<bool> shard_weights;

  // Values fixed by the user; where empty, the plan chooses. The plan may lower
  // max_num_batched_tokens and max_num_seqs.
  std::optional<int64_t> micro_batch_tokens;
  std::optional<int64_t> max_num_batched_tokens;
  std::optional<int64_t> max_num_seqs;
  std::optional<bool> activation_checkpointing;
  std::optional<OptimizerForms> forms;
};

struct PlanPart {
  std::string name;  // "weights", "KV cache", …
  uint64_t bytes = 0;
  bool gpu_only = false;  // memory that training or sampling on a CPU does not take
};

struct Plan {
  std::vector<PlanPart> parts;
  uint64_t bytes = 0;        // sum of the parts
  uint64_t short_bytes = 0;  // bytes beyond the device's memory; 0: the plan fits
  bool fits() const { return short_bytes == 0; }

  // Chosen by the plan or fixed by the user; 0 where the stage has no such size.
  int64_t micro_batch_tokens = 0;
  bool activation_checkpointing = false;
  bool shard_weights = false;
  // Scoring: the other models wait in the host's memory (Engine::offload).
  bool offload = false;
  OptimizerForms forms;
  int64_t max_num_seqs = 0;
  int64_t kv_pages = 0;
  int64_t prefill_tokens = 0;
  int64_t max_num_batched_tokens = 0;
  int64_t head_chunk_tokens = 0;  // tokens whose logits are in memory at once
};

// Returns the first plan that fits, tried from the fastest to the smallest. Where none fits,
// returns the smallest, with short_bytes set.
Plan plan_memory(const PlanRequest& request);

// Bytes of a device that no plan gives to weights and activations: the CUDA context, the workspace
// and the allocator's reserve.
uint64_t unplanned_bytes(uint64_t device_bytes);

// Bytes of one layer's activations per token.
struct LayerBytes {
  int64_t kept = 0;  // saved for the backward pass
  // Peak of the forward pass without autograd: scoring, sampling, forward under checkpointing.
  int64_t forward = 0;
  int64_t backward = 0;  // peak of the backward pass, in addition to `kept`
};
LayerBytes layer_bytes(const ModelConfig& config, DType dtype,
                       const std::optional<LoraParams>& lora);

}  // namespace cream
