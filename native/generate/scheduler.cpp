#include "generate/scheduler.h"

#include <algorithm>
#include <tuple>

namespace cream {

void Sequence::receive(const StreamedToken& drawn) {
  tokens.push_back(drawn.token);
  logprobs.push_back(drawn.logprob);
  top_tokens.insert(top_tokens.end(), drawn.top_tokens.begin(), drawn.top_tokens.end());
  top_logprobs.insert(top_logprobs.end(), drawn.top_logprobs.begin(), drawn.top_logprobs.end());
}

bool Sequence::over() const { return ended || launched == limit || generation->ended; }

bool first_of_prompt(const Sequence& sequence) {
  return sequence.key.sample == sequence.prefill->prompt->first_sample;
}

bool last_of_prompt(const Sequence& sequence) {
  return sequence.key.sample - sequence.prefill->prompt->first_sample + 1 ==
         sequence.prefill->prompt->samples;
}

int64_t sample_count(const GenerationRequest& request) {
  int64_t samples = 0;
  for (const GenerationPrompt& prompt : request.prompts) samples += prompt.samples;
  return samples;
}

std::vector<Sequences> prefill_passes(const Sequences& entering, int64_t tokens) {
  std::vector<Sequences> passes;
  int64_t rows = 0;
  for (const SequencePtr& sequence : entering) {
    const Prefill& prompt = *sequence->prefill;
    if (prompt.computed || !first_of_prompt(*sequence)) continue;
    if (passes.empty() || rows + prompt.length() > tokens) passes.emplace_back(), rows = 0;
    passes.back().push_back(sequence);
    rows += prompt.length();
  }
  return passes;
}

void side_by_side(Sequences& sequences) {
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const SequencePtr& a, const SequencePtr& b) {
                     return a->generation->arrival < b->generation->arrival;
                   });
}

void Scheduler::add(GenerationPtr generation) {
  generation->arrival = ++arrivals_;
  generation->most_running = std::max<int64_t>(1, backend_.most_sequences(generation->request));
  generations_.push_back(std::move(generation));
}

void Scheduler::remove_ended() {
  std::erase_if(generations_, [](const GenerationPtr& generation) { return generation->ended; });
}

bool Scheduler::retire() {
  return std::erase_if(running_, [](const SequencePtr& sequence) {
           if (!sequence->over()) return false;
           --sequence->generation->running;
           return true;
         }) > 0;
}

// The requests whose next sequence may enter, in the order in which they should enter.
std::vector<GenerationPtr> Scheduler::candidates() const {
  std::vector<GenerationPtr> out;
  for (const GenerationPtr& generation : generations_) {
    if (!generation->waiting() || generation->running >= generation->most_running) continue;
    const int64_t length =
        generation->next_sample > 0
            ? 0
            : static_cast<int64_t>(
                  generation->request.prompts[generation->next_prompt].tokens.size());
    if (generation->entering_tokens > 0 &&
        generation->entering_tokens + length > backend_.prefill_tokens())
      continue;
    out.push_back(generation);
  }
  std::stable_sort(out.begin(), out.end(), [](const GenerationPtr& a, const GenerationPtr& b) {
    return std::tie(a->running, a->last_entered) < std::tie(b->running, b->last_entered);
  });
  return out;
}

SequencePtr Scheduler::next_of(const GenerationPtr& generation) const {
  const GenerationRequest& request = generation->request;
  const GenerationPrompt& prompt = request.prompts[generation->next_prompt];
  if (!generation->entering) {
    generation->entering = std::make_shared<Prefill>();
    generation->entering->prompt = &prompt;
    generation->entering->prompt_index = static_cast<uint32_t>(generation->next_prompt);
  }
  auto sequence = std::make_shared<Sequence>();
  sequence->generation = generation;
  sequence->prefill = generation->entering;
  sequence->key = {request.seed, request.iteration, prompt.key,
                   prompt.first_sample + generation->next_sample};
  sequence->limit = generation->stop.max_new_tokens(prompt);
  return sequence;
}

void Scheduler::entered(Generation& generation) {
  const GenerationPrompt& prompt = generation.request.prompts[generation.next_prompt];
  if (generation.next_sample == 0)
    generation.entering_tokens += static_cast<int64_t>(prompt.tokens.size());
  ++generation.running;
  generation.last_entered = ++entries_;
  if (++generation.next_sample < prompt.samples) return;
  generation.entering.reset();
  generation.next_sample = 0;
  ++generation.next_prompt;
}

Sequences Scheduler::admit(const std::function<void(Generation&)>& failed) {
  for (const GenerationPtr& generation : generations_) generation->entering_tokens = 0;
  Sequences entering;
  const auto enter_one = [&] {
    for (const GenerationPtr& generation : candidates()) {
      SequencePtr sequence = next_of(generation);
      try {
        if (backend_.reserve(*sequence)) {
          entered(*generation);
          entering.push_back(std::move(sequence));
          return true;
        }
      } catch (...) {
        failed(*generation);
        return true;
      }
      // A prompt with waiting sequences holds memory too: if nothing runs, one of these prompts
      // continues.
      if (!running_.empty() || !entering.empty()) return false;
    }
    return false;
  };
  while (static_cast<int64_t>(running_.size() + entering.size()) < backend_.most_rows() &&
         enter_one()) {
  }
  side_by_side(entering);
  return entering;
}

void Scheduler::run(const Sequences& entering) {
  running_.insert(running_.end(), entering.begin(), entering.end());
  side_by_side(running_);
}

}  // namespace cream
