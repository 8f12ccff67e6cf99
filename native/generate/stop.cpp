#include "generate/stop.h"

#include <algorithm>
#include <string_view>

#include "support/error.h"
#include "support/invariant.h"

namespace cream {

StopRule::StopRule(const ModelConfig& config, const GenerationRequest& request)
    : request_(request), context_(config.context()) {
  for (const std::string& text : request.sampling.stop_strings) {
    invariant(!text.empty(), "a stop string is empty");
    longest_stop_string_ = std::max(longest_stop_string_, text.size());
  }
  if (longest_stop_string_ == 0) return;
  // The offsets index native memory, and only their types are checked before.
  const auto valid = [](const TokenBytes& table) {
    return table.offsets.size() >= 2 && table.offsets.back() <= table.bytes.size() &&
           std::is_sorted(table.offsets.begin(), table.offsets.end());
  };
  if (!request.token_bytes || !valid(*request.token_bytes))
    throw Error(ErrorCode::invalid_argument,
                "[generate] stop strings need the bytes of every token: pass the tokenizer's "
                "tokenBytes().");
}

const Tokens* StopRule::banned(const Sequence& sequence) const {
  const SamplingParams& sampling = request_.sampling;
  return static_cast<int64_t>(sequence.tokens.size()) < sampling.min_new_tokens &&
                 !sampling.stop_ids.empty()
             ? &sampling.stop_ids
             : nullptr;
}

int64_t StopRule::max_new_tokens(const GenerationPrompt& prompt) const {
  return std::min(request_.sampling.max_new_tokens,
                  context_ - static_cast<int64_t>(prompt.tokens.size()));
}

std::optional<FinishReason> StopRule::finished(Sequence& sequence) const {
  const SamplingParams& sampling = request_.sampling;
  const int64_t length = static_cast<int64_t>(sequence.tokens.size());
  const bool stop_string = longest_stop_string_ > 0 && completes_stop_string(sequence) &&
                           length >= sampling.min_new_tokens;
  if (std::find(sampling.stop_ids.begin(), sampling.stop_ids.end(), sequence.tokens.back()) !=
      sampling.stop_ids.end())
    return FinishReason::eos;
  if (stop_string) return FinishReason::stop;
  if (length >= max_new_tokens(*sequence.prefill->prompt)) return FinishReason::length;
  return std::nullopt;
}

// Appends the new token's bytes to the tail and looks for a stop string that ends within them.
bool StopRule::completes_stop_string(Sequence& sequence) const {
  const size_t token = sequence.tokens.back();
  size_t added = 0;
  // A padded vocabulary is larger than the tokenizer's.
  const auto& [bytes, offsets] = *request_.token_bytes;
  if (token + 1 < offsets.size()) {
    const uint32_t begin = offsets[token], end = offsets[token + 1];
    sequence.tail.append(reinterpret_cast<const char*>(bytes.data()) + begin, end - begin);
    added = end - begin;
  }
  bool found = false;
  for (const std::string& text : request_.sampling.stop_strings) {
    const size_t window = std::min(sequence.tail.size(), added + text.size() - 1);
    found = found ||
            (added > 0 &&
             std::string_view(sequence.tail).substr(sequence.tail.size() - window).find(text) !=
                 std::string_view::npos);
  }
  if (sequence.tail.size() >= longest_stop_string_)
    sequence.tail.erase(0, sequence.tail.size() - (longest_stop_string_ - 1));
  return found;
}

}  // namespace cream
