// Checks of a request's token ids before any computation. A message names the request and the
// offending value.
#pragma once

#include <cstdint>
#include <string>

#include "model/config.h"
#include "support/types.h"

namespace cream {

// Throws Error{invalid_argument} unless `tokens` is non-empty and every id is within the
// vocabulary. `what` names the sequence in the message, e.g. "[score] completion 3 of prompt 17".
void check_tokens(const ModelConfig& config, const Tokens& tokens, const std::string& what);

// Throws Error{invalid_argument} unless `length` tokens plus `new_tokens` generated ones fit the
// context. `advice` ends the message with the remedy.
void check_length(const ModelConfig& config, int64_t length, const std::string& what,
                  const std::string& advice, int64_t new_tokens = 0);

}  // namespace cream
