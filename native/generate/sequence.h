// The state of a prompt and of a sequence while they are generated, on the CPU and on a device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/kv_cache.h"
#include "model/paged_cache.h"
#include "support/types.h"

namespace cream {

struct Generation;  // generate/scheduler.h

// A request with its bounds on a device. request.most_pages, request.prefill_tokens and most_rows
// hold for all requests that run together; 0: no bound. If rows or pages are short, sequences wait
// for others to end; a prompt of more than prefill_tokens tokens is prefilled in chunks.
struct BoundedRequest {
  GenerationRequest request;
  int64_t most_rows = 0;
};

// A prompt's KV cache and next-token logits. Lives from the start of its first sequence to the end
// of its last.
struct Prefill {
  const GenerationPrompt* prompt = nullptr;  // the Generation owns it
  uint32_t prompt_index = 0;
  // [vocab] fp32, of the last prompt token; released once the last sequence has its first token.
  Tensor logits;
  KvBlockPtr cache;  // on the CPU; shared by all sequences of the prompt
  // On a device. The last page may be partial; the last sequence takes it over.
  Pages pages;
  bool computed = false;

  int64_t length() const { return static_cast<int64_t>(prompt->tokens.size()); }
};

// A prompt with one completion in progress.
struct Sequence {
  std::shared_ptr<Generation> generation;
  std::shared_ptr<Prefill> prefill;
  SampleKey key;
  int64_t limit = 0;     // most new tokens
  int64_t launched = 0;  // tokens requested from the backend, received or not
  bool ended = false;    // tokens drawn after the end are dropped
  // What the host has received so far:
  Tokens tokens;
  std::vector<float> logprobs;
  Tokens top_tokens;
  std::vector<float> top_logprobs;
  std::string tail;  // last bytes of the completion; used for stop strings only
  // KV cache of all new tokens but the last, which no step has read yet: a block on the CPU, the
  // pages after the prompt's full ones on a device.
  KvBlockPtr own;
  Pages pages;
  int64_t slot = -1;  // on a device: row in the batch, or −1 − index among the entering ones

  void receive(const StreamedToken& drawn);
  bool over() const;
};
using SequencePtr = std::shared_ptr<Sequence>;
using Sequences = std::vector<SequencePtr>;

// Whether `sequence` is the first or the last of its prompt to enter.
bool first_of_prompt(const Sequence& sequence);
bool last_of_prompt(const Sequence& sequence);

int64_t sample_count(const GenerationRequest& request);

}  // namespace cream
