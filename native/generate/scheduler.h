// Chooses the sequences that decode together. Sequences enter in prompt order, then sample order,
// whenever fewer than max_num_seqs run. So the sequences of a prompt stay adjacent, and decode
// attention reads their shared keys once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/kv_cache.h"
#include "model/paged_cache.h"
#include "support/types.h"

namespace cream {

// A prompt's KV cache and next-token logits. Lives from the start of its first sequence to the end
// of its last.
struct Prefill {
  const GenerationPrompt* prompt = nullptr;  // the request outlives the run
  uint32_t prompt_index = 0;
  KvBlockPtr cache;  // null until computed; shared by all its sequences
  // The KV cache on a device. The last page may be partial; the last sequence takes it over.
  Pages pages;
  // [vocab] fp32, of the last prompt token; released once the last sequence has its first token.
  Tensor logits;

  bool computed() const { return cache || logits.defined(); }
  int64_t length() const { return static_cast<int64_t>(prompt->tokens.size()); }
};

// A prompt with one completion in progress.
struct Sequence {
  std::shared_ptr<Prefill> prefill;
  SampleKey key;
  KvBlockPtr own;  // KV cache of all new tokens but the last, which no step has read yet
  Tokens tokens;
  std::vector<float> logprobs;
  std::string tail;               // last bytes of the completion; used for stop strings only
  const float* logits = nullptr;  // [vocab] of the next token; valid within one step

  bool started() const { return !tokens.empty(); }
};

// Whether `sequence` is the last of its prompt to enter.
bool last_of_prompt(const Sequence& sequence);

// Groups the prompts that are not computed yet into passes of at most `tokens` tokens; a longer
// prompt has a pass of its own. `prompts` may repeat a prompt only in adjacent entries.
std::vector<std::vector<Prefill*>> prefill_passes(const std::vector<Prefill*>& prompts,
                                                  int64_t tokens);

int64_t sample_count(const GenerationRequest& request);

// The sequences of a request in the order in which they enter.
class Queue {
 public:
  explicit Queue(const GenerationRequest& request) : request_(request) {}

  bool empty() const { return next_prompt_ == request_.prompts.size(); }
  // The prompt of the next sequence.
  const GenerationPrompt& prompt() const { return request_.prompts[next_prompt_]; }
  bool first_of_prompt() const { return next_sample_ == 0; }
  bool last_of_prompt() const { return next_sample_ + 1 == prompt().samples; }
  Sequence take();

 private:
  const GenerationRequest& request_;
  size_t next_prompt_ = 0;
  uint32_t next_sample_ = 0;          // within the prompt, from 0
  std::shared_ptr<Prefill> current_;  // the prompt whose sequences are entering
};

class Scheduler {
 public:
  explicit Scheduler(const GenerationRequest& request);

  // Adds sequences up to max_num_seqs.
  void admit();
  // Removes and returns the finished sequences; the others keep their order. `finished` has one
  // entry per running sequence.
  std::vector<Sequence> retire(const std::vector<bool>& finished);

  std::vector<Sequence>& running() { return running_; }
  bool done() const { return running_.empty() && queue_.empty(); }

 private:
  int64_t max_num_seqs_;
  Queue queue_;
  std::vector<Sequence> running_;
};

}  // namespace cream
