// Continuous batching: every step decodes one token of every running sequence, and a sequence that
// ends is replaced by the next one. A prompt is computed once; all its sequences read its KV cache.
// A token depends on its prompt, its SampleKey and its position, never on the other sequences of
// the batch. Source: Yu et al. 2022, "Orca" (iteration-level scheduling); Zheng et al. 2024,
// "SGLang" (shared prefixes).
#include "generate/generator.h"

#include <chrono>

#include "generate/cache_attention.h"
#include "generate/device_generator.h"
#include "generate/scheduler.h"
#include "generate/stop.h"
#include "model/check_tokens.h"
#include "model/packing.h"
#include "ops/sample/op.h"
#include "support/device.h"
#include "support/error.h"
#include "support/parallel.h"
#include "support/random.h"

namespace cream {

namespace {

constexpr int64_t kPrefillTokens = 1024;  // per prefill pass; a longer prompt has its own pass
constexpr int64_t kFirstCapacity = 64;    // positions of a new KV block; doubled when full

class Seconds {
 public:
  explicit Seconds(double& total) : total_(total), started_(std::chrono::steady_clock::now()) {}
  ~Seconds() {
    total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  }

 private:
  double& total_;
  std::chrono::steady_clock::time_point started_;
};

class Generator {
 public:
  Generator(const Transformer& model, const GenerationRequest& request,
            const GenerationCallbacks& callbacks, const Cancel& cancel)
      : model_(model),
        request_(request),
        callbacks_(callbacks),
        cancel_(cancel),
        stop_(model.config(), request),
        scheduler_(request) {
    progress_.total = sample_count(request);
  }

  GenerationStats run() {
    while (!scheduler_.done()) step();
    return stats_;
  }

 private:
  void step() {
    cancel_.check();
    scheduler_.admit();
    prefill();
    decode();
    sample();
    retire();
  }

  void prefill();
  void prefill_pass(const std::vector<Prefill*>& prompts);
  void decode();
  void sample();
  void retire();
  KvBlockPtr own_block(const GenerationPrompt& prompt);

  const Transformer& model_;
  const GenerationRequest& request_;
  const GenerationCallbacks& callbacks_;
  const Cancel& cancel_;
  const StopRule stop_;
  Scheduler scheduler_;
  Tensor logits_;                  // [sequences, vocab] fp32 of this step
  std::vector<KvBlockPtr> spare_;  // blocks of ended sequences, for reuse
  GenerationStats stats_;
  Progress progress_;
};

// Computes the prompts of the sequences that just entered, several per pass.
void Generator::prefill() {
  const Seconds timer(stats_.prefill_seconds);
  std::vector<Prefill*> prompts;
  for (const Sequence& sequence : scheduler_.running()) prompts.push_back(sequence.prefill.get());
  for (const auto& pass : prefill_passes(prompts, kPrefillTokens)) prefill_pass(pass);
}

void Generator::prefill_pass(const std::vector<Prefill*>& prompts) {
  cancel_.check();
  PackedBatch batch;
  std::vector<KvBlock*> blocks;
  std::vector<int64_t> last_rows;
  for (Prefill* p : prompts) {
    batch.add_prompt(p->prompt->tokens);
    last_rows.push_back(batch.rows() - 1);
    p->cache = std::make_shared<KvBlock>(model_.config(), model_.dtype(), p->length());
    blocks.push_back(p->cache.get());
  }
  PrefillAttention attention(batch.segments(), blocks);
  const Tensor hidden = model_.forward(batch.as_token_batch(), attention);  // [rows, hidden]
  const Tensor last =
      hidden.index_select(0, at::tensor(at::ArrayRef<int64_t>(last_rows), at::kLong));
  const Tensor logits =
      ops::linear_f32(last, model_.weights().head).contiguous();  // [prompts, vocab]
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i]->cache->length = prompts[i]->cache->capacity();
    prompts[i]->logits = logits.select(0, static_cast<int64_t>(i));
  }
  stats_.prompt_tokens += batch.rows();
}

// One forward pass over the last token of every started sequence.
void Generator::decode() {
  const Seconds timer(stats_.decode_seconds);
  std::vector<Sequence*> sequences;
  std::vector<int64_t> tokens, positions;
  for (Sequence& sequence : scheduler_.running()) {
    if (!sequence.started()) continue;
    if (sequence.own->length == sequence.own->capacity())
      sequence.own->grow(2 * sequence.own->capacity());
    sequences.push_back(&sequence);
    tokens.push_back(sequence.tokens.back());
    positions.push_back(sequence.prefill->cache->length + sequence.own->length);
  }
  if (sequences.empty()) return;
  DecodeAttention attention(sequences, model_.config().num_kv_heads);
  const TokenBatch inputs{at::tensor(at::ArrayRef<int64_t>(tokens), at::kLong),
                          at::tensor(at::ArrayRef<int64_t>(positions), at::kLong)};
  logits_ = ops::linear_f32(model_.forward(inputs, attention), model_.weights().head).contiguous();
  for (size_t i = 0; i < sequences.size(); ++i) {
    sequences[i]->logits = logits_.const_data_ptr<float>() + i * logits_.size(1);
    ++sequences[i]->own->length;
  }
  ++stats_.decode_steps;
}

// Draws the next token of every sequence: from this step's logits, or for a new sequence from its
// prompt's.
void Generator::sample() {
  const Seconds timer(stats_.decode_seconds);
  std::vector<Sequence>& sequences = scheduler_.running();
  std::vector<Draw> draws(sequences.size());
  for (Sequence& sequence : sequences) {
    if (!sequence.started()) sequence.logits = sequence.prefill->logits.const_data_ptr<float>();
  }
  parallel_for(0, static_cast<int64_t>(sequences.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double u = uniform(sequences[i].key, static_cast<uint32_t>(sequences[i].tokens.size()));
      draws[i] = ops::sample(sequences[i].logits, model_.config().vocab_size, request_.sampling,
                             stop_.banned(sequences[i]), u);
    }
  });
  std::vector<StreamedToken> streamed;
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& sequence = sequences[i];
    if (!sequence.started()) {
      sequence.own = own_block(*sequence.prefill->prompt);
      if (last_of_prompt(sequence)) sequence.prefill->logits.reset();
    }
    sequence.tokens.push_back(draws[i].token);
    sequence.logprobs.push_back(draws[i].logprob);
    if (request_.stream_tokens)
      streamed.push_back({sequence.prefill->prompt_index, sequence.key.sample, draws[i].token});
  }
  stats_.completion_tokens += sequences.size();
  if (!streamed.empty() && callbacks_.on_tokens) callbacks_.on_tokens(std::move(streamed));
}

// Delivers the completions that ended.
void Generator::retire() {
  std::vector<Sequence>& sequences = scheduler_.running();
  std::vector<bool> ended(sequences.size());
  std::vector<FinishReason> reasons;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto reason = stop_.finished(sequences[i]);
    ended[i] = reason.has_value();
    if (reason) reasons.push_back(*reason);
  }
  if (!reasons.empty()) {
    std::vector<Sequence> out = scheduler_.retire(ended);
    for (size_t i = 0; i < out.size(); ++i) {
      spare_.push_back(std::move(out[i].own));
      if (callbacks_.on_completion) {
        callbacks_.on_completion({out[i].prefill->prompt_index, out[i].key.sample,
                                  std::move(out[i].tokens), std::move(out[i].logprobs),
                                  reasons[i]});
      }
    }
    progress_.done += out.size();
  }
  progress_.tokens = stats_.completion_tokens;
  if (callbacks_.on_progress) callbacks_.on_progress(progress_);
}

// The last token is never read, so a completion of n tokens needs n − 1 positions.
KvBlockPtr Generator::own_block(const GenerationPrompt& prompt) {
  if (!spare_.empty()) {
    KvBlockPtr block = std::move(spare_.back());
    spare_.pop_back();
    block->length = 0;
    return block;
  }
  const int64_t needed = std::max<int64_t>(1, stop_.max_new_tokens(prompt) - 1);
  return std::make_shared<KvBlock>(model_.config(), model_.dtype(),
                                   std::min(kFirstCapacity, needed));
}

void check_request(const ModelConfig& config, const GenerationRequest& request) {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw Error(ErrorCode::invalid_argument, message);
  };
  const SamplingParams& s = request.sampling;
  require(std::isfinite(s.temperature) && s.temperature >= 0,
          "[generate] temperature must be a finite number, 0 (greedy) or more.");
  require(s.top_p > 0 && s.top_p <= 1, "[generate] top_p must be above 0 and at most 1.");
  require(s.top_k >= 0, "[generate] top_k must be 0 (off) or more.");
  require(s.max_new_tokens >= 1, "[generate] max_new_tokens must be at least 1.");
  require(s.min_new_tokens >= 0 && s.min_new_tokens <= s.max_new_tokens,
          "[generate] min_new_tokens must lie between 0 and max_new_tokens.");
  require(request.max_num_seqs >= 1, "[generate] max_num_seqs must be at least 1.");
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const GenerationPrompt& prompt = request.prompts[i];
    const std::string what = "[generate] prompt " + std::to_string(i);
    check_tokens(config, prompt.tokens, what);
    check_length(config, static_cast<int64_t>(prompt.tokens.size()), what,
                 "shorten it and leave room for new tokens", 1);
    if (prompt.samples < 1)
      throw Error(ErrorCode::invalid_argument, what + " asks for no samples: ask for at least 1.");
  }
}

}  // namespace

GenerationStats generate(const Transformer& model, const GenerationRequest& request,
                         const GenerationCallbacks& callbacks, const Cancel& cancel) {
  const c10::InferenceMode inference;
  check_request(model.config(), request);
  if (on_device(model.weights().embedding.weight))
    return generate_on_device(model, request, callbacks, cancel);
  return Generator(model, request, callbacks, cancel).run();
}

}  // namespace cream
