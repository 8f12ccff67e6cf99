#include "generate/scheduler.h"

namespace cream {

bool last_of_prompt(const Sequence& sequence) {
  return sequence.key.sample - sequence.prefill->prompt->first_sample + 1 ==
         sequence.prefill->prompt->samples;
}

std::vector<std::vector<Prefill*>> prefill_passes(const std::vector<Prefill*>& prompts,
                                                  int64_t tokens) {
  std::vector<std::vector<Prefill*>> passes;
  int64_t rows = 0;
  for (Prefill* prompt : prompts) {
    if (prompt->computed() || (!passes.empty() && passes.back().back() == prompt)) continue;
    if (passes.empty() || rows + prompt->length() > tokens) passes.emplace_back(), rows = 0;
    passes.back().push_back(prompt);
    rows += prompt->length();
  }
  return passes;
}

Sequence Queue::take() {
  const GenerationPrompt& prompt = this->prompt();
  if (next_sample_ == 0) {
    current_ = std::make_shared<Prefill>();
    current_->prompt = &prompt;
    current_->prompt_index = static_cast<uint32_t>(next_prompt_);
  }
  Sequence sequence;
  sequence.prefill = current_;
  sequence.key = {request_.seed, request_.iteration, prompt.key,
                  prompt.first_sample + next_sample_};
  if (++next_sample_ == prompt.samples) {
    current_.reset();
    next_sample_ = 0;
    ++next_prompt_;
  }
  return sequence;
}

int64_t sample_count(const GenerationRequest& request) {
  int64_t samples = 0;
  for (const GenerationPrompt& prompt : request.prompts) samples += prompt.samples;
  return samples;
}

// Sequences of equal waves, as few as max_num_seqs allows: a last wave of few sequences would take
// as many steps as a full one.
static int64_t balanced_num_seqs(const GenerationRequest& request) {
  const int64_t samples = sample_count(request);
  const int64_t waves = (samples + request.max_num_seqs - 1) / request.max_num_seqs;
  return waves == 0 ? request.max_num_seqs : (samples + waves - 1) / waves;
}

Scheduler::Scheduler(const GenerationRequest& request)
    : max_num_seqs_(balanced_num_seqs(request)), queue_(request) {
  running_.reserve(max_num_seqs_);
}

void Scheduler::admit() {
  while (static_cast<int64_t>(running_.size()) < max_num_seqs_ && !queue_.empty())
    running_.push_back(queue_.take());
}

std::vector<Sequence> Scheduler::retire(const std::vector<bool>& finished) {
  std::vector<Sequence> out, kept;
  kept.reserve(running_.capacity());
  for (size_t i = 0; i < running_.size(); ++i)
    (finished[i] ? out : kept).push_back(std::move(running_[i]));
  running_.swap(kept);
  return out;
}

}  // namespace cream
