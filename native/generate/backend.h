// The scheduler's interface to a processor: prefill, first tokens, decode. The CPU draws tokens
// before it returns; a device runs one step ahead of the host.
#pragma once

#include <memory>
#include <string>

#include "generate/sequence.h"
#include "model/transformer.h"

namespace cream {

class Backend {
 public:
  virtual ~Backend() = default;

  // Decode steps that may be in flight before the host receives their tokens.
  virtual size_t in_flight() const = 0;
  // Most rows of a decode step, over all requests.
  virtual int64_t most_rows() const = 0;
  // Most sequences of this request that decode together.
  virtual int64_t most_sequences(const GenerationRequest& request) const = 0;
  // Prompt tokens per prefill pass. A longer prompt has a pass of its own.
  virtual int64_t prefill_tokens() const = 0;

  // Throws Error{out_of_memory} if a sequence of the request would not fit alone.
  virtual void check(const Generation& generation) const = 0;
  // Takes memory for the keys and values of a sequence, and of its prompt if it is the prompt's
  // first sequence. False if it has to wait for others to end. Throws Error{out_of_memory} if the
  // device does not have the memory.
  virtual bool reserve(Sequence& sequence) = 0;
  // Computes the prompts of these sequences, one each, in one pass.
  virtual void prefill(const Sequences& sequences) = 0;
  // The first token of each, from its prompt's logits: [2, sequences] int32, tokens and bits of
  // their fp32 log-probs; token −1 where no logit is finite. Below them, if a request asks for the
  // most likely tokens, the rows of top_logprobs() for the most that one asks for. Valid once the
  // work queued so far is done (support/stream_mark.h).
  virtual Tensor first_tokens(const Sequences& entering) = 0;
  // Makes these sequences the rows of the next steps. Each has run before, or its first token was
  // drawn since the last arrange().
  virtual void arrange(const Sequences& running) = 0;
  // The next token of each row, in the format of first_tokens(). `running` is the argument of the
  // last arrange().
  virtual Tensor decode(const Sequences& running) = 0;
  // Why decode steps are launched kernel by kernel where a graph was expected; empty if none is.
  virtual std::string graph_failure() const { return {}; }
};

std::unique_ptr<Backend> cpu_backend(const Transformer& model);
std::unique_ptr<Backend> device_backend(const Transformer& model);

}  // namespace cream
