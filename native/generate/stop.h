// When a sample ends: a stop id, a stop string in its bytes, max_new_tokens, or the end of the
// context.
#pragma once

#include <optional>

#include "generate/scheduler.h"
#include "model/config.h"
#include "support/types.h"

namespace cream {

class StopRule {
 public:
  // Throws Error{invalid_argument} if stop strings come without a sound table of token bytes.
  StopRule(const ModelConfig& config, const GenerationRequest& request);

  // Tokens that may not be drawn next; null: all may.
  const Tokens* banned(const Sequence& row) const;
  // After a token was appended to `row`. Before min_new_tokens a stop string does not end the
  // sample either.
  std::optional<FinishReason> finished(Sequence& row) const;
  int64_t max_new_tokens(
      const GenerationPrompt& prompt) const;  // what the context leaves of the request's bound

 private:
  bool completes_stop_string(Sequence& row) const;

  const GenerationRequest& request_;
  int64_t context_;
  size_t longest_stop_string_ = 0;
};

}  // namespace cream
