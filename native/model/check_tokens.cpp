#include "model/check_tokens.h"

#include "support/error.h"
#include "support/invariant.h"

namespace cream {

static std::string with_commas(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(at, ",");
  return digits;
}

void check_tokens(const ModelConfig& config, const Tokens& tokens) {
  invariant(!tokens.empty(), "a sequence is empty");
  for (const TokenId token : tokens)
    invariant(token >= 0 && token < config.vocab_size, "a token is outside the vocabulary");
}

void check_length(const ModelConfig& config, int64_t length, const std::string& what,
                  const std::string& advice, int64_t new_tokens) {
  if (length + new_tokens <= config.context()) return;
  const bool depends = config.rope.type == "longrope" || config.rope.type == "dynamic";
  const std::string why =
      depends ? " (in longer sequences its " + config.rope.type +
                    " RoPE would have other frequencies, which this engine keeps fixed)"
              : "";
  throw Error(ErrorCode::invalid_argument,
              what + " has " + with_commas(length) + " tokens, the model's context is " +
                  with_commas(config.context()) + why + ": " + advice + ".");
}

}  // namespace cream
