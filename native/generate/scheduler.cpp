#include "generate/scheduler.h"

namespace cream {

Scheduler::Scheduler(const GenerationRequest& request) : request_(request) { rows_.reserve(request.max_rows); }

void Scheduler::admit() {
  while (static_cast<int64_t>(rows_.size()) < request_.max_rows && next_prompt_ < request_.prompts.size()) {
    const GenerationPrompt& prompt = request_.prompts[next_prompt_];
    if (next_sample_ == 0) current_ = std::make_shared<Prefill>(Prefill{&prompt, static_cast<uint32_t>(next_prompt_), nullptr, {}});
    Row row;
    row.prefill = current_;
    row.key = {request_.seed, request_.iteration, prompt.key, prompt.first_sample + next_sample_};
    rows_.push_back(std::move(row));
    if (++next_sample_ < prompt.samples) continue;
    current_.reset();
    next_sample_ = 0;
    ++next_prompt_;
  }
}

std::vector<Row> Scheduler::retire(const std::vector<bool>& finished) {
  std::vector<Row> out, kept;
  kept.reserve(rows_.capacity());
  for (size_t i = 0; i < rows_.size(); ++i) (finished[i] ? out : kept).push_back(std::move(rows_[i]));
  rows_.swap(kept);
  return out;
}

bool Scheduler::last_of_prompt(const Row& row) const {
  return row.key.sample - row.prefill->prompt->first_sample + 1 == row.prefill->prompt->samples;
}

}  // namespace cream
