// Types shared by every module and the JavaScript boundary: plain structs, without tensors or Node.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/activation.h"
#include "support/error.h"

namespace cream {

using TokenId = int32_t;
using Tokens = std::vector<TokenId>;

enum class DType { float32, bfloat16 };

// Random draws of a completion depend on these four values and the token position only.
struct SampleKey {
  uint64_t seed = 0;
  uint32_t iteration = 0;
  uint64_t prompt = 0;  // a stable hash of the prompt's id
  uint32_t sample = 0;
};

// Shared by the thread that requests a cancel and the thread that works.
class Cancel {
 public:
  void request() { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const { return requested_.load(std::memory_order_relaxed); }
  // Throws Error{aborted} once a cancel was requested; long loops call it between steps.
  void check() const {
    if (requested()) throw Error(ErrorCode::aborted, "The operation was aborted.");
  }

 private:
  std::atomic<bool> requested_{false};
};
using CancelPtr = std::shared_ptr<Cancel>;

// Called on the model's worker thread; implementations must be thread-safe and return quickly.
struct Progress {
  uint64_t done = 0, total = 0;  // units of the job: completions, sequences
  uint64_t tokens = 0;           // tokens computed so far
};
using OnProgress = std::function<void(const Progress&)>;

struct SamplingParams {
  double temperature = 1.0;  // 0 means greedy
  double top_p = 1.0;        // smallest set of tokens whose probability reaches top_p; 1 keeps all
  int64_t top_k = 0;         // 0 keeps all
  int64_t min_new_tokens = 0;  // stop ids are masked until then
  int64_t max_new_tokens = 128;
  Tokens stop_ids;  // a sampled stop id ends the completion and is its last token
  // UTF-8; the completion ends with the token that completes one of them.
  std::vector<std::string> stop_strings;
};

struct GenerationPrompt {
  Tokens tokens;     // not empty
  uint64_t key = 0;  // SampleKey::prompt
  uint32_t samples = 1;
  uint32_t first_sample = 0;  // SampleKey::sample of the first one
};

// Bytes of each vocabulary entry: token i is bytes[offsets[i]] up to but without
// bytes[offsets[i + 1]].
struct TokenBytes {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> offsets;
};

struct GenerationRequest {
  std::vector<GenerationPrompt> prompts;
  SamplingParams sampling;
  uint64_t seed = 0;
  uint32_t iteration = 0;
  int64_t max_num_seqs = 128;  // sequences decoded together; 0: begin_generation() chooses
  // Bounds on a device; 0: no bound. Where KV pages are short, sequences wait for others to end; a
  // prompt of more than prefill_tokens tokens is prefilled in chunks.
  int64_t most_pages = 0, prefill_tokens = 0;
  bool stream_tokens = false;
  int64_t top_logprobs = 0;  // most likely tokens that are returned for each token
  // Needed for stop strings only. Thousands of requests at once share one table.
  std::shared_ptr<const TokenBytes> token_bytes;
};

enum class FinishReason {
  eos,
  stop,
  length
};  // stop id, stop string, max_new_tokens or end of context

struct GeneratedCompletion {
  uint32_t prompt_index = 0;
  uint32_t sample = 0;  // SampleKey::sample
  Tokens tokens;        // at least one, a stop id included
  // One per token: log p over the full vocabulary at temperature 1, before top-k and top-p.
  std::vector<float> logprobs;
  // request.top_logprobs per token, the likeliest first, and their log-probs.
  Tokens top_tokens;
  std::vector<float> top_logprobs;
  FinishReason finish = FinishReason::length;
};

struct StreamedToken {
  uint32_t prompt_index = 0;
  uint32_t sample = 0;
  TokenId token = 0;
  float logprob = 0;
  // The alternatives in place of this token, ordered as in GeneratedCompletion.
  Tokens top_tokens;
  std::vector<float> top_logprobs;
};

struct GenerationStats {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t decode_steps = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  std::string graph_failure;  // of Backend
};

// One prompt and the completions to score.
struct ScoringGroup {
  Tokens prompt;                    // not empty
  std::vector<Tokens> completions;  // none empty
};

struct ScoringRequest {
  std::vector<ScoringGroup> groups;
  // Per forward pass; a longer group is cut between its completions; 0: Engine::score chooses.
  int64_t max_num_batched_tokens = 4096;
};

// In request order: groups, then their completions.
struct ScoringResult {
  std::vector<float> token_logprobs;  // all completions' tokens, concatenated
  std::vector<uint64_t> offsets;      // completions + 1 entries into token_logprobs
  std::vector<double> sums;           // one per completion
  uint64_t forward_tokens = 0;
  double seconds = 0;
};

struct ClassificationRequest {
  std::vector<Tokens> sequences;  // none empty
  // Per forward pass; a longer sequence has its own pass; 0: Engine::classify chooses.
  int64_t max_num_batched_tokens = 4096;
};

// Parameters of a LoRA adapter (Hu et al. 2021) in PEFT's terms: y += scale·B·A·dropout(x) on every
// target module of every layer.
struct LoraParams {
  int64_t rank = 0;
  double alpha = 0;
  double dropout = 0;   // of A's input, in training only
  bool rslora = false;  // scale α/√r (Kalajdzievski 2023) instead of α/r
  // Hugging Face module names: "q_proj", …; in the order of a layer once resolved.
  std::vector<std::string> targets;
};

// A preference pair with precomputed reference log-probs, so that training needs no second model.
struct PreferencePair {
  Tokens prompt;
  Tokens chosen;
  Tokens rejected;
  double reference_chosen = 0, reference_rejected = 0;  // summed log-probs under the reference
  double weight = 1;                                    // C in [0, 1]
  // Summed log-probs under θ_0; read only where the KL coefficient is not 0.
  double base_chosen = 0, base_rejected = 0;
  double kl_baseline = 0;  // KTO's z_0 of this step, in nats; other losses ignore it
};

struct SftExample {
  Tokens prompt, completion;  // loss on the completion only
};

enum class Schedule { constant, linear, cosine };

// Storage forms of the optimizer state: fp32, or forms that save memory (ops/adamw/op.h).
struct OptimizerForms {
  bool states_8bit = false;  // m and v in 8 bits with one scale per block
  // For bf16 weights: a 16-bit remainder beside the weight instead of an fp32 master.
  bool split_masters = false;
  bool bf16_gradients = false;  // accumulated gradients of matrices in bf16
  bool operator==(const OptimizerForms&) const = default;
};

// Ranges and defaults of the settings below: src/engine/requests.ts, which fills in every one.
struct OptimizerParams {
  double learning_rate = 0;
  double beta1 = 0, beta2 = 0, epsilon = 0;
  double weight_decay = 0;   // not applied to norms
  double max_grad_norm = 0;  // 0 turns clipping off
  Schedule schedule = Schedule::constant;
  int64_t warmup_steps = 0;
  // The first warm-up step has a learning rate above 0, unlike in transformers.
  bool warmup_from_first_step = false;
  int64_t total_steps = 1;
  OptimizerForms forms;
};

enum class LossKind { dpo, ipo, simpo, kto, robust };  // formulas: loss/preference.h

struct PreferenceLoss {
  LossKind kind = LossKind::dpo;
  double beta = 0;
  double simpo_gamma = 0;      // SimPO's target margin γ
  double label_smoothing = 0;  // robust DPO's rate ε of flipped labels
  double kl_coefficient = 0;   // factor of the KL penalty to θ_0 (SRLM + KL)
};

struct TrainerParams {
  OptimizerParams optimizer;
  PreferenceLoss loss;
  // Per forward and backward pass; 0: Engine::start_trainer chooses.
  int64_t micro_batch_tokens = 0;
  // Keeps layer inputs only and recomputes the rest in the backward pass; empty:
  // Engine::start_trainer chooses.
  std::optional<bool> activation_checkpointing;
  // On several ranks: each keeps its shard of the weights too and gathers those of a layer while it
  // computes it (ZeRO's third stage); otherwise it has all weights (the second).
  bool shard_weights = false;
  // On several ranks whose weights are whole: gradients are sent once per step, and until then
  // every rank has whole ones; otherwise once per micro-batch.
  bool reduce_per_step = false;
  uint64_t dropout_seed = 0;  // keys an adapter's dropout masks, with the step and the module
};

using Words = std::initializer_list<const char*>;

// Calls field(name, value) for numbers and field(name, value, words) for choices, whose words are
// in the order of their values. Names are those of src/engine/requests.ts.
template <class Forms, class Field>
void each_form(Forms& forms, Field&& field) {
  field("optimizerStates", forms.states_8bit, Words{"float32", "8bit"});
  field("masterWeights", forms.split_masters, Words{"float32", "split"});
  field("gradientDtype", forms.bf16_gradients, Words{"float32", "bfloat16"});
}

// each_form() for all settings that affect a trainer's updates: the addon reads them, and the state
// of a trainer records them.
template <class Params, class Field>
void each_setting(Params& params, Field&& field) {
  auto& optimizer = params.optimizer;
  field("learningRate", optimizer.learning_rate);
  field("beta1", optimizer.beta1);
  field("beta2", optimizer.beta2);
  field("epsilon", optimizer.epsilon);
  field("weightDecay", optimizer.weight_decay);
  field("maxGradNorm", optimizer.max_grad_norm);
  field("schedule", optimizer.schedule, Words{"constant", "linear", "cosine"});
  field("warmupSteps", optimizer.warmup_steps);
  field("warmupStart", optimizer.warmup_from_first_step, Words{"zero", "first_step"});
  field("totalSteps", optimizer.total_steps);
  field("loss", params.loss.kind, Words{"dpo", "ipo", "simpo", "kto", "robust"});
  field("beta", params.loss.beta);
  field("simpoGamma", params.loss.simpo_gamma);
  field("labelSmoothing", params.loss.label_smoothing);
  field("klCoefficient", params.loss.kl_coefficient);
  each_form(optimizer.forms, field);
}

// Metrics of one optimizer step, averaged over its pairs; named as in TRL's logs.
struct StepMetrics {
  int64_t step = 0;  // 1 for the first step
  double loss = 0;
  double grad_norm = 0;        // before clipping
  double learning_rate = 0;    // used in this step
  double reward_chosen = 0;    // β·(log π − log π_ref)
  double reward_rejected = 0;  // the same for the rejected completion
  double reward_margin = 0;    // reward_chosen − reward_rejected
  double reward_accuracy = 0;  // share of pairs with a positive margin
  double logp_chosen = 0, logp_rejected = 0;
  // Mean of ½(log π − log π_0)² over all completions, in nats; 0 where the KL coefficient is 0.
  double kl = 0;
  uint64_t tokens = 0;  // tokens computed
  double seconds = 0;
};

}  // namespace cream
