#include "parallel/environment.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "support/error.h"

namespace cream {
namespace {

constexpr int kMostRanks = 1 << 20;

Error wrong(const std::string& what) {
  return Error(ErrorCode::invalid_argument,
               "[parallel] " + what +
                   "; start the run with torchrun, which sets these variables, or unset WORLD_SIZE "
                   "and RANK to run one process.");
}

std::optional<int> number(const char* name, int least, int most) {
  const char* const text = std::getenv(name);
  if (text == nullptr || *text == 0) return std::nullopt;
  int value = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < least || value > most)
    throw wrong(std::string(name) + " is '" + text + "', not a number from " +
                std::to_string(least) + " to " + std::to_string(most));
  return value;
}

int demanded(const char* name, int least, int most) {
  const std::optional<int> value = number(name, least, most);
  if (!value) throw wrong(std::string("WORLD_SIZE is above 1, and ") + name + " is not set");
  return *value;
}

}  // namespace

RankEnvironment rank_environment() {
  RankEnvironment found;
  const std::optional<int> size = number("WORLD_SIZE", 1, kMostRanks);
  const std::optional<int> rank = number("RANK", 0, size.value_or(kMostRanks) - 1);
  if (!size && rank.value_or(0) > 0)
    throw wrong("RANK is " + std::to_string(*rank) + ", and WORLD_SIZE is not set");
  found.size = size.value_or(1);
  if (found.size == 1) return found;
  found.rank = demanded("RANK", 0, found.size - 1);
  const std::optional<int> local_size = number("LOCAL_WORLD_SIZE", 1, found.size);
  // Without LOCAL_WORLD_SIZE the launcher gives each process a machine, or a GPU, of its own.
  found.local_size = local_size.value_or(1);
  found.local_rank = number("LOCAL_RANK", 0, found.size - 1).value_or(0);
  if (found.local_rank >= found.local_size)
    throw wrong("LOCAL_RANK is " + std::to_string(found.local_rank) + ", and LOCAL_WORLD_SIZE is " +
                (local_size ? std::to_string(*local_size) : "not set"));
  const char* const address = std::getenv("MASTER_ADDR");
  if (address == nullptr || *address == 0)
    throw wrong("WORLD_SIZE is above 1, and MASTER_ADDR is not set");
  found.master_address = address;
  found.master_port = static_cast<uint16_t>(demanded("MASTER_PORT", 1, 65535));
  const char* const agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  found.agent_store = agent != nullptr && std::strcmp(agent, "True") == 0;
  found.attempt = number("TORCHELASTIC_RESTART_COUNT", 0, 1 << 20).value_or(0);
  return found;
}

}  // namespace cream
