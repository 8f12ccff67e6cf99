// Which samples decode together. Rows enter in prompt order, then sample order, whenever one is
// free, so the samples of a prompt stay neighbours and decode attention reads their shared keys
// once.
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

// A prompt's keys and values and what it predicts, from its first sample's start to its last
// sample's end.
struct Prefill {
  const GenerationPrompt* prompt = nullptr;  // the request outlives the run
  uint32_t prompt_index = 0;
  KvBlockPtr cache;  // null until computed; shared by all samples
  Pages pages;    // the same on a device; behind the full ones a partial one until the last sample
                  // takes it over
  Tensor logits;  // [vocab] fp32 of the last row; dropped once the last sample has drawn its first
                  // token

  bool computed() const { return cache || logits.defined(); }
  int64_t length() const { return static_cast<int64_t>(prompt->tokens.size()); }
};

// One sample in the making.
struct Sequence {
  std::shared_ptr<Prefill> prefill;
  SampleKey key;
  KvBlockPtr own;  // of the tokens but the last, which no step has read yet
  Tokens tokens;
  std::vector<float> logprobs;
  std::string tail;  // the last bytes of the text so far, where stop strings are wanted
  const float* logits = nullptr;  // [vocab] of the next token: valid within one step

  bool started() const { return !tokens.empty(); }
};

// Whether `row` is the last of its prompt to enter.
bool last_of_prompt(const Sequence& row);

// What is not computed yet of these prompts, samples of one side by side, in passes of at most
// `tokens` rows; a longer prompt goes alone.
std::vector<std::vector<Prefill*>> prefill_passes(const std::vector<Prefill*>& prompts,
                                                  int64_t tokens);

int64_t sample_count(const GenerationRequest& request);

// The samples of a request in the order in which they enter.
class Queue {
 public:
  explicit Queue(const GenerationRequest& request) : request_(request) {}

  bool empty() const { return next_prompt_ == request_.prompts.size(); }
  const GenerationPrompt& prompt() const {
    return request_.prompts[next_prompt_];
  }  // of the next sample
  bool first_of_prompt() const { return next_sample_ == 0; }
  bool last_of_prompt() const { return next_sample_ + 1 == prompt().samples; }
  Sequence take();

 private:
  const GenerationRequest& request_;
  size_t next_prompt_ = 0;
  uint32_t next_sample_ = 0;          // within the prompt, from 0
  std::shared_ptr<Prefill> current_;  // the prompt whose samples are entering
};

class Scheduler {
 public:
  explicit Scheduler(const GenerationRequest& request);

  // Fills the free rows with the next samples.
  void admit();
  // Takes rows out, keeping the order of those that stay. `finished` has one entry a row.
  std::vector<Sequence> retire(const std::vector<bool>& finished);

  std::vector<Sequence>& rows() { return rows_; }
  bool done() const { return rows_.empty() && queue_.empty(); }

 private:
  int64_t max_num_seqs_;
  Queue queue_;
  std::vector<Sequence> rows_;
};

}  // namespace cream
