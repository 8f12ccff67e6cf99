// Decides when a completion ends: at a stop id, a stop string in its bytes, max_new_tokens, or the
// end of the context.
#pragma once

#include <optional>

#include "generate/sequence.h"
#include "model/config.h"
#include "support/types.h"

namespace cream {

class StopRule {
 public:
  // Throws Error{invalid_argument} if stop strings are given without a valid table of token bytes.
  StopRule(const ModelConfig& config, const GenerationRequest& request);

  // Tokens that may not be drawn next; null where all may.
  const Tokens* banned(const Sequence& sequence) const;
  // Called after a token was appended to `sequence`. Below min_new_tokens neither a stop id nor a
  // stop string ends the completion.
  std::optional<FinishReason> finished(Sequence& sequence) const;
  // The request's max_new_tokens, limited by the remaining context.
  int64_t max_new_tokens(const GenerationPrompt& prompt) const;

 private:
  bool completes_stop_string(Sequence& sequence) const;

  const GenerationRequest& request_;
  int64_t context_;
  size_t longest_stop_string_ = 0;
};

}  // namespace cream
