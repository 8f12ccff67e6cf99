// Continuous batching over one model: prompts are prefilled once, sequences of all requests decode
// together, and finished sequences are replaced at once. Requests join and leave at any step.
//
// A token depends on its prompt, its SampleKey, its position and its request's settings, never on
// the other sequences of the batch. An error or a cancel ends the request that it belongs to; the
// others go on. Source: Yu et al. 2022, "Orca" (iteration-level scheduling); Zheng et al. 2024,
// "SGLang" (shared prefixes).
#pragma once

#include <deque>

#include "generate/scheduler.h"
#include "support/stream_mark.h"

namespace cream {

// Runs on the model's worker thread. The model must not change while a Generator lives.
class Generator {
 public:
  // `steps` counts the decode steps of the model.
  Generator(const Transformer& model, uint64_t& steps);
  ~Generator();

  // The request decodes from the next step on. Throws Error, before any work and without calling
  // on_end, for a request that cannot run: a prompt that fills the context, for example; the error
  // names its index.
  void add(BoundedRequest request, GenerationCallbacks callbacks,
           std::shared_ptr<const Cancel> cancel);

  // Decodes one token of every running sequence, after the sequences that may enter have joined
  // them. Returns whether a request is left. Does not throw: errors go to on_end.
  bool step();

 private:
  // Tokens requested from the backend that the host has not received yet.
  struct Round {
    Sequences sequences;
    Tensor drawn;  // in the format of Backend::first_tokens()
    StreamMark done;
    bool decoded;  // false: first tokens, drawn from the prompts' logits
  };

  void end_cancelled();
  Sequences enter();
  void prefill(const Sequences& entering);
  bool decode();
  void ask(const Sequences& sequences, Tensor drawn, bool decoded);
  void receive(size_t in_flight);
  void receive_part(const Round& round, size_t first, size_t last, double seconds);
  void deliver(Sequence& sequence, FinishReason reason);
  void end(Generation& generation, const std::exception_ptr& error);

  const Transformer& model_;
  uint64_t& steps_;
  std::unique_ptr<Backend> backend_;  // declared before the sequences, whose memory returns to it
  Scheduler scheduler_;
  std::deque<Round> rounds_;
  StreamMark clock_;  // end of the last received round
};

// One request alone, to its end. Throws Error; completions delivered before that remain valid.
GenerationStats generate(const Transformer& model, const GenerationRequest& request,
                         GenerationCallbacks callbacks, const Cancel& cancel);

}  // namespace cream
