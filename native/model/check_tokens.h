// What every request must hold before a row is computed; messages name the new_tokens and the
// offender.
#pragma once

#include <cstdint>
#include <string>

#include "model/config.h"
#include "support/types.h"

namespace cream {

// `what`: the offender and its new_tokens, e.g. "[score] completion 3 of prompt 17". Throws
// Error{invalid_argument} unless `tokens` is non-empty and within the vocabulary.
void check_tokens(const ModelConfig& config, const Tokens& tokens, const std::string& what);

// Throws Error{invalid_argument} unless `length` tokens and `new_tokens` more fit the context;
// `advice`: what to do about it.
void check_length(const ModelConfig& config, int64_t length, const std::string& what,
                  const std::string& advice, int64_t new_tokens = 0);

}  // namespace cream
