#include "engine/fit.h"

#include <functional>
#include <limits>

#include "engine/plan.h"
#include "support/device.h"

namespace cream {
namespace {

// Empty where the device's memory is unknown, as on the CPU.
std::optional<PlanRequest> plan_request(const Place& place, PlanStage stage) {
  const Transformer& transformer = place.model.transformer;
  PlanRequest request;
  request.device_bytes = device_memory(transformer.device());
  if (request.device_bytes == 0) return std::nullopt;
  request.config = transformer.config();
  request.dtype = transformer.dtype() == at::kFloat ? DType::float32 : DType::bfloat16;
  request.stage = stage;
  request.lora = place.model.lora();
  request.device_bytes -= std::min(request.device_bytes, place.trainer_bytes);
  return request;
}

// Whether a plan is worse than the one for a device without other models.
using IsWorse = std::function<bool(const Plan& plan, const Plan& alone)>;

bool falls_short(const Plan& plan, const Plan&) { return !plan.fits(); }

// The plan in the memory that the other models of the device leave. Where they make it worse, those
// without work go first.
Plan planned(const Place& place, PlanRequest request, const IsWorse& worse) {
  const at::Device device = place.model.transformer.device();
  const uint64_t all = request.device_bytes, own = place.model.base_bytes();
  const auto beside = [&](uint64_t others) {
    request.device_bytes = all - std::min(all, others);
    return plan_memory(request);
  };
  const auto others = [&] {
    const uint64_t live = live_weight_bytes(device);
    return live > own ? live - own : 0;
  };
  Plan plan = beside(others());
  if (others() == 0 || place.turn == nullptr) return plan;
  const Plan alone = beside(0);
  while (worse(plan, alone) && place.turn->ask(device)) plan = beside(others());
  return plan;
}

int64_t batch_tokens(int64_t asked, const Place& place) {
  if (auto request = plan_request(place, PlanStage::score)) {
    if (asked > 0) request->max_num_batched_tokens = asked;
    return planned(place, *request, falls_short).max_num_batched_tokens;
  }
  return asked > 0 ? asked : ScoringRequest().max_num_batched_tokens;
}

}  // namespace

// Sequences that the request would decode together if memory allowed.
static int64_t sequences_of(const GenerationRequest& generation) {
  int64_t sequences = 0;
  for (const GenerationPrompt& prompt : generation.prompts)
    sequences += std::max<int64_t>(prompt.samples, 1);
  const int64_t asked = generation.max_num_seqs;
  return asked > 0 ? std::min(asked, sequences) : sequences;
}

// The meaning of `auto` on the CPU.
static constexpr int64_t kCpuMicroBatchTokens = 1024;

TrainerParams fitted(TrainerParams params, const Place& place) {
  if (auto request = plan_request(place, PlanStage::train)) {
    if (params.micro_batch_tokens > 0) request->micro_batch_tokens = params.micro_batch_tokens;
    request->activation_checkpointing = params.activation_checkpointing;
    request->forms = params.optimizer.forms;
    request->ranks = place.ranks;
    request->shard_weights = params.shard_weights;
    const Plan plan = planned(place, *request, [](const Plan& now, const Plan& alone) {
      return !now.fits() || now.micro_batch_tokens < alone.micro_batch_tokens ||
             now.activation_checkpointing != alone.activation_checkpointing;
    });
    params.micro_batch_tokens = plan.micro_batch_tokens;
    params.activation_checkpointing = plan.activation_checkpointing;
  }
  if (params.micro_batch_tokens == 0) params.micro_batch_tokens = kCpuMicroBatchTokens;
  // On the CPU sending takes the time of computing.
  params.reduce_per_step = place.model.transformer.device().is_cpu() && !params.shard_weights;
  params.activation_checkpointing = params.activation_checkpointing.value_or(false);
  return params;
}

BoundedRequest fitted(GenerationRequest generation, const Place& place) {
  auto request = plan_request(place, PlanStage::sample);
  if (!request || generation.prompts.empty()) {
    if (generation.max_num_seqs == 0) generation.max_num_seqs = GenerationRequest().max_num_seqs;
    return {std::move(generation)};
  }
  const int64_t context = request->config.context();
  request->prompt_tokens = request->new_tokens = 1;
  request->samples = std::numeric_limits<int64_t>::max();
  for (const GenerationPrompt& prompt : generation.prompts) {
    const int64_t length = static_cast<int64_t>(prompt.tokens.size());
    request->prompt_tokens = std::max(request->prompt_tokens, std::min(length, context));
    request->new_tokens = std::max(request->new_tokens,
                                   std::min(generation.sampling.max_new_tokens, context - length));
    request->samples = std::min<int64_t>(request->samples, std::max<uint32_t>(prompt.samples, 1));
  }
  // The bounds are those of the whole device, so that other requests can join a small one.
  const int64_t asked = generation.max_num_seqs, wanted = sequences_of(generation);
  const IsWorse worse = [wanted](const Plan& now, const Plan& alone) {
    return !now.fits() || now.max_num_seqs < std::min(wanted, alone.max_num_seqs);
  };
  Plan plan = planned(place, *request, worse);
  if (asked > plan.max_num_seqs) {
    request->max_num_seqs = asked;
    plan = planned(place, *request, worse);
  }
  generation.max_num_seqs = asked > 0 ? std::min(asked, plan.max_num_seqs) : plan.max_num_seqs;
  generation.most_pages = plan.kv_pages;
  generation.prefill_tokens = plan.prefill_tokens;
  return {std::move(generation), plan.max_num_seqs};
}

ScoringRequest fitted(ScoringRequest scoring, const Place& place) {
  scoring.max_num_batched_tokens = batch_tokens(scoring.max_num_batched_tokens, place);
  return scoring;
}

ClassificationRequest fitted(ClassificationRequest classification, const Place& place) {
  classification.max_num_batched_tokens =
      batch_tokens(classification.max_num_batched_tokens, place);
  return classification;
}

}  // namespace cream
