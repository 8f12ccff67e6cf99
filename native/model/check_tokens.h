// Checks of a request's sequences before any computation.
#pragma once

#include <cstdint>
#include <string>

#include "model/config.h"
#include "support/types.h"

namespace cream {

// The invariant that `tokens` is not empty and every id is within the vocabulary.
void check_tokens(const ModelConfig& config, const Tokens& tokens);

// The context of a model is known here only: a caller's mistake. `what` names the sequence in the
// message, e.g. "[score] prompt 17 with completion 3". Throws Error{invalid_argument} unless
// `length` tokens plus `new_tokens` generated ones fit the context. `advice` ends the message with
// the remedy.
void check_length(const ModelConfig& config, int64_t length, const std::string& what,
                  const std::string& advice, int64_t new_tokens = 0);

}  // namespace cream
