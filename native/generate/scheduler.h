// Chooses the sequences that decode together, over all requests in progress.
//
// A request's sequences enter in prompt order, then sample order, while fewer than its max_num_seqs
// run. The next sequence is that of the request with the fewest running ones; among equals, of the
// one that has waited longest. If it has to wait for memory, no other sequence overtakes it. So a
// new request joins the requests in progress at once, and none starves.
#pragma once

#include <functional>

#include "generate/backend.h"
#include "generate/callbacks.h"
#include "generate/stop.h"

namespace cream {

// A request in progress.
struct Generation {
  Generation(const ModelConfig& config, BoundedRequest bounded, GenerationCallbacks callbacks,
             std::shared_ptr<const Cancel> cancel)
      : request(std::move(bounded.request)),
        most_rows(bounded.most_rows),
        callbacks(std::move(callbacks)),
        cancel(std::move(cancel)),
        stop(config, this->request) {
    progress.total = static_cast<uint64_t>(sample_count(this->request));
  }

  const GenerationRequest request;
  const int64_t most_rows;
  GenerationCallbacks callbacks;
  const std::shared_ptr<const Cancel> cancel;
  const StopRule stop;
  GenerationEnd result;
  Progress progress;
  bool ended = false;

  // Set by the scheduler.
  uint64_t arrival = 0;                   // number of the request
  int64_t most_running = 1, running = 0;  // sequences
  uint64_t last_entered = 0;              // number of the last entry, over all requests; 0: none
  int64_t entering_tokens = 0;            // prompt tokens that enter in this step
  size_t next_prompt = 0;
  uint32_t next_sample = 0;           // within the prompt, from 0
  std::shared_ptr<Prefill> entering;  // the prompt whose sequences are entering

  bool waiting() const { return !ended && next_prompt < request.prompts.size(); }
};
using GenerationPtr = std::shared_ptr<Generation>;

class Scheduler {
 public:
  explicit Scheduler(Backend& backend) : backend_(backend) {}

  void add(GenerationPtr generation);
  const std::vector<GenerationPtr>& generations() const { return generations_; }
  void remove_ended();

  // Removes the ended sequences from the running ones; returns whether there were any.
  bool retire();
  // Chooses and reserves the sequences that enter in this step. At most one prefill pass of a
  // request enters per step, so a long list of prompts does not delay the tokens of other requests.
  // `failed` is called with the current exception for a request whose reservation fails.
  Sequences admit(const std::function<void(Generation&)>& failed);
  // Adds them to the running sequences. Sequences of a request, and within it of a prompt, are
  // adjacent, so that decode attention reads their shared keys once.
  void run(const Sequences& entering);
  const Sequences& running() const { return running_; }

 private:
  std::vector<GenerationPtr> candidates() const;
  SequencePtr next_of(const GenerationPtr& generation) const;
  void entered(Generation& generation);

  Backend& backend_;
  std::vector<GenerationPtr> generations_;  // in order of arrival
  Sequences running_;
  uint64_t arrivals_ = 0, entries_ = 0;
};

// Groups the sequences whose prompts are not computed yet into passes of at most `tokens` prompt
// tokens, one sequence for each prompt; a longer prompt has a pass of its own.
std::vector<Sequences> prefill_passes(const Sequences& entering, int64_t tokens);

// Orders sequences by their requests' arrival, and keeps the order within a request.
void side_by_side(Sequences& sequences);

}  // namespace cream
